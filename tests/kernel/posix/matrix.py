"""Every call on every kind of name: some twenty targets by some thirty calls, each with what it leaves behind."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lamina.linux.files import renameat2
from tests.helpers.unions import Mounted, answer, snapshot

_AT_FDCWD = -100

#: Names by what stands there; every check has a folder of its own in which `populate` made them.
TARGETS = {
    "file": "file",
    "full directory": "dir",
    "empty directory": "empty",
    "link to file": "link",
    "link to directory": "linkdir",
    "broken link": "broken",
    "loop": "loop",
    "fifo": "fifo",
    "socket": "socket",
    "device": "null",
    "absent": "absent",
    "below a file": "file/x",
    "below nothing": "absent/x",
    "below a link to a directory": "linkdir/inside",
    "file with slash": "file/",
    "directory with slash": "dir/",
    "link with slash": "link/",
    "absent with slash": "absent/",
    "dot": "dir/.",
    "dot dot": "dir/..",
    "name of 255": "n" * 255,
    "name of 256": "n" * 256,
    "path of 4096": "dir/" + "./" * 2100 + "inside",
}


def populate(top: str, *, owner: int = 0) -> None:
    """Make the names of TARGETS in `top`, which exists; files that the checks move, too. Half belong to `owner`."""

    def at(name: str) -> str:
        return f"{top}/{name}"

    for name in ("file", "second", "own"):
        with open(at(name), "w", encoding="utf-8") as file:
            file.write(name)
    for name in ("dir", "empty", "second-dir", "closed", "sticky"):
        os.mkdir(at(name))
    for name in ("dir/inside", "closed/inside", "sticky/other"):
        with open(at(name), "w", encoding="utf-8") as file:
            file.write("inside")
    os.symlink("file", at("link"))
    os.symlink("dir", at("linkdir"))
    os.symlink("nowhere", at("broken"))
    os.symlink("loop", at("loop"))
    os.mkfifo(at("fifo"))
    with socket.socket(socket.AF_UNIX) as made:
        here = os.open(top, os.O_PATH)
        made.bind(f"/proc/self/fd/{here}/socket")
        os.close(here)
    os.mknod(at("null"), 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    os.chmod(at("closed"), 0o700)
    os.chmod(at("sticky"), 0o1777)
    for name in ("", "own", "empty", "second", "second-dir", "link"):
        os.chown(at(name), owner, owner, follow_symlinks=False)


def _opened(*flags: int) -> Callable[[str], Any]:
    def call(path: str) -> Any:
        fd = os.open(path, sum(flags) | os.O_NONBLOCK, 0o640)
        try:
            return oct(os.fstat(fd).st_mode)
        finally:
            os.close(fd)

    return call


def _written(*flags: int) -> Callable[[str], Any]:
    def call(path: str) -> Any:
        fd = os.open(path, sum(flags) | os.O_NONBLOCK, 0o640)
        try:
            return os.write(fd, b"abc")
        finally:
            os.close(fd)

    return call


def _state(st: os.stat_result) -> tuple[Any, ...]:
    size = None if stat.S_ISDIR(st.st_mode) else st.st_size
    links = None if stat.S_ISDIR(st.st_mode) else st.st_nlink
    return oct(st.st_mode), st.st_uid, st.st_gid, links, size, st.st_rdev


def _rename(old: str, new: str, flags: int) -> None:
    renameat2(_AT_FDCWD, os.fsencode(old), _AT_FDCWD, os.fsencode(new), flags)


#: Calls by name; each gets the path, with the folder of its check as working directory.
CALLS: dict[str, Callable[[str], Any]] = {
    "stat": lambda path: _state(os.stat(path)),
    "lstat": lambda path: _state(os.lstat(path)),
    "access for writing": lambda path: os.access(path, os.W_OK),
    "open to read": _opened(os.O_RDONLY),
    "open to write": _written(os.O_WRONLY),
    "open to read and write": _written(os.O_RDWR),
    "open to append": _written(os.O_WRONLY, os.O_APPEND),
    "open or create": _written(os.O_WRONLY, os.O_CREAT),
    "create": _written(os.O_WRONLY, os.O_CREAT, os.O_EXCL),
    "create to read": _opened(os.O_RDONLY, os.O_CREAT),
    "open and empty": _written(os.O_WRONLY, os.O_TRUNC),
    "create and empty": _written(os.O_WRONLY, os.O_CREAT, os.O_TRUNC),
    "open a directory": _opened(os.O_RDONLY, os.O_DIRECTORY),
    "open no link": _opened(os.O_RDONLY, os.O_NOFOLLOW),
    "open the path": _opened(os.O_PATH),
    "mkdir": lambda path: os.mkdir(path, 0o750),
    "rmdir": os.rmdir,
    "unlink": os.unlink,
    "readlink": os.readlink,
    "list": lambda path: sorted(os.listdir(path)),
    "chmod": lambda path: os.chmod(path, 0o4751),
    "lchown": lambda path: os.lchown(path, 7, 8),
    "chown": lambda path: os.chown(path, 7, 8),
    "utime": lambda path: os.utime(path, ns=(10**18, 10**18 + 1)),
    "lutime": lambda path: os.utime(path, ns=(10**18, 10**18 + 1), follow_symlinks=False),
    "utime now": os.utime,
    "truncate": lambda path: os.truncate(path, 3),
    "extend": lambda path: os.truncate(path, 5000),
    "set user xattr": lambda path: os.setxattr(path, "user.x", b"1"),
    "set xattr of a link": lambda path: os.setxattr(path, "user.x", b"1", follow_symlinks=False),
    "set trusted xattr": lambda path: os.setxattr(path, "trusted.x", b"1"),
    "get xattr": lambda path: os.getxattr(path, "user.x"),
    "remove xattr": lambda path: os.removexattr(path, "user.x"),
    "list xattrs": os.listxattr,
    "symlink here": lambda path: os.symlink("file", path),
    "fifo here": os.mkfifo,
    "link from": lambda path: os.link(path, "made", follow_symlinks=False),
    "link here": lambda path: os.link("second", path),
    "rename from": lambda path: os.rename(path, "made"),
    "rename file here": lambda path: os.rename("second", path),
    "rename directory here": lambda path: os.rename("second-dir", path),
    "rename into itself": lambda path: os.rename("dir", f"dir/{path}"),
    "rename here if free": lambda path: _rename("second", path, 1),
    "exchange file": lambda path: _rename("second", path, 2),
    "exchange directory": lambda path: _rename("second-dir", path, 2),
}


def perform(top: str, call: str, target: str) -> tuple[Any, ...]:
    """Make one call in the folder `top`; return its answer and the tree that it leaves."""
    back = os.open(".", os.O_PATH | os.O_DIRECTORY)
    try:
        os.chdir(top)
        said = answer(lambda: CALLS[call](TARGETS[target]))
    finally:
        os.fchdir(back)
        os.close(back)
    return said


def left_behind(top: str) -> tuple[Any, ...]:
    """Return the tree in the folder `top` as comparable data; to be asked with all rights."""
    return tuple(sorted(snapshot(Mounted(Path(top)), times=False).items()))
