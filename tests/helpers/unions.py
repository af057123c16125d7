"""Layers, and operations on a union seen in several ways: through a mount of any kind, in the process, or a plain tree.

Each actor carries out the same operations by the same names, so a test can compare what they answer.
"""

from __future__ import annotations

import errno
import os
import stat
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lamina.linux.files import renameat2
from lamina.overlay.union.union import Union

#: When layers were made: anything later was touched by a test.
LONG_AGO = 1_000_000_000_000_000_000
_RECENT = LONG_AGO + 10**17

_AT_FDCWD = -100


@dataclass(frozen=True)
class Item:
    """An entry of a layer: `kind` is file, dir, opaque, link, fifo, whiteout or hard; `text` what it holds or names."""

    path: str
    kind: str
    text: str = ""
    mode: int = 0o644


def make_layer(top: Path, items: list[Item], *, space: str = "trusted") -> None:
    """Make a layer of the items, in their order; one that does not fit what is there already is left out."""
    top.mkdir()
    for item in items:
        path = top / item.path
        try:
            _make_item(top, path, item, space)
        except OSError:
            continue
    for folder, _, names in os.walk(top, topdown=False):
        for name in [*names, "."]:
            os.utime(os.path.join(folder, name), ns=(LONG_AGO, LONG_AGO + 7), follow_symlinks=False)


def make_layers(top: Path, layers: list[list[Item]]) -> list[Path]:
    """Make a layer of each list of items, in `top`, and return them."""
    paths = [top / f"layer{n}" for n in range(len(layers))]
    for path, items in zip(paths, layers, strict=True):
        make_layer(path, items)
    return paths


def _make_item(top: Path, path: Path, item: Item, space: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if item.kind == "file":
        with open(path, "x", encoding="utf-8") as file:
            file.write(item.text)
        path.chmod(item.mode)
    elif item.kind in ("dir", "opaque"):
        path.mkdir()
        path.chmod(item.mode | 0o111)
        if item.kind == "opaque":
            os.setxattr(path, f"{space}.overlay.opaque", b"y")
    elif item.kind == "link":
        path.symlink_to(item.text)
    elif item.kind == "fifo":
        os.mkfifo(path)
    elif item.kind == "whiteout":
        os.mknod(path, stat.S_IFCHR, 0)
    else:
        os.link(top / item.text, path, follow_symlinks=False)


Answer = tuple[str, Any]


def answer(operation: Callable[[], Any]) -> Answer:
    """Return what an operation gives, or the name of its errno."""
    try:
        return "gives", operation()
    except OSError as error:
        return "fails", errno.errorcode.get(error.errno or 0, str(error))


class Mounted:
    """A tree reached by paths below `top`: a mount, or a plain directory."""

    def __init__(self, top: Path) -> None:
        self.top = top

    def _at(self, path: str) -> str:
        return f"{self.top}/{path}" if path else str(self.top)

    def create(self, path: str, text: str, mode: int) -> None:
        fd = os.open(self._at(path), os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(fd, "w") as file:
            file.write(text)

    def append(self, path: str, text: str) -> None:
        with open(self._at(path), "r+b") as file:
            file.seek(0, os.SEEK_END)
            file.write(text.encode())

    def overwrite(self, path: str, text: str) -> None:
        with open(self._at(path), "wb") as file:
            file.write(text.encode())

    def read(self, path: str) -> bytes:
        with open(self._at(path), "rb") as file:
            return file.read()

    def truncate(self, path: str, size: int) -> None:
        os.truncate(self._at(path), size)

    def mkdir(self, path: str, mode: int) -> None:
        os.mkdir(self._at(path), mode)

    def rmdir(self, path: str) -> None:
        os.rmdir(self._at(path))

    def unlink(self, path: str) -> None:
        os.unlink(self._at(path))

    def rename(self, old: str, new: str, flags: int) -> None:
        renameat2(_AT_FDCWD, os.fsencode(self._at(old)), _AT_FDCWD, os.fsencode(self._at(new)), flags)

    def link(self, old: str, new: str) -> None:
        os.link(self._at(old), self._at(new), follow_symlinks=False)

    def symlink(self, target: str, path: str) -> None:
        os.symlink(target, self._at(path))

    def mkfifo(self, path: str) -> None:
        os.mkfifo(self._at(path))

    def chmod(self, path: str, mode: int) -> None:
        os.chmod(self._at(path), mode)

    def chown(self, path: str, uid: int) -> None:
        os.chown(self._at(path), uid, uid, follow_symlinks=False)

    def utime(self, path: str, ns: int) -> None:
        os.utime(self._at(path), ns=(ns, ns + 1), follow_symlinks=False)

    def setxattr(self, path: str, name: str, value: bytes) -> None:
        os.setxattr(self._at(path), name, value, follow_symlinks=False)

    def removexattr(self, path: str, name: str) -> None:
        os.removexattr(self._at(path), name, follow_symlinks=False)

    def listdir(self, path: str) -> list[str]:
        # The kernel lists whiteouts of a directory that it merges with nothing, and finds nothing at their names.
        return sorted(name for name in os.listdir(self._at(path)) if os.path.lexists(self._at(f"{path}/{name}")))

    def lstat(self, path: str) -> os.stat_result:
        return os.stat(self._at(path), follow_symlinks=False)

    def readlink(self, path: str) -> str:
        return os.readlink(self._at(path))

    def listxattr(self, path: str) -> list[str]:
        return sorted(os.listxattr(self._at(path), follow_symlinks=False))

    def getxattr(self, path: str, name: str) -> bytes:
        return os.getxattr(self._at(path), name, follow_symlinks=False)


class InProcess:
    """A union in this process."""

    def __init__(self, union: Union) -> None:
        self.union = union

    def create(self, path: str, text: str, mode: int) -> None:
        with os.fdopen(self.union.os_open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
            file.write(text)

    def append(self, path: str, text: str) -> None:
        with self.union.open(path, "r+b") as file:
            file.seek(0, os.SEEK_END)
            file.write(text.encode())

    def overwrite(self, path: str, text: str) -> None:
        self.union.write_text(path, text)

    def read(self, path: str) -> bytes:
        return self.union.read_bytes(path)

    def truncate(self, path: str, size: int) -> None:
        self.union.truncate(path, size)

    def mkdir(self, path: str, mode: int) -> None:
        self.union.mkdir(path, mode)

    def rmdir(self, path: str) -> None:
        self.union.rmdir(path)

    def unlink(self, path: str) -> None:
        self.union.unlink(path)

    def rename(self, old: str, new: str, flags: int) -> None:
        self.union.rename(old, new, flags=flags)

    def link(self, old: str, new: str) -> None:
        self.union.link(old, new)

    def symlink(self, target: str, path: str) -> None:
        self.union.symlink(target, path)

    def mkfifo(self, path: str) -> None:
        self.union.mkfifo(path)

    def chmod(self, path: str, mode: int) -> None:
        self.union.chmod(path, mode)

    def chown(self, path: str, uid: int) -> None:
        self.union.chown(path, uid, uid, follow_symlinks=False)

    def utime(self, path: str, ns: int) -> None:
        self.union.utime(path, ns=(ns, ns + 1), follow_symlinks=False)

    def setxattr(self, path: str, name: str, value: bytes) -> None:
        self.union.setxattr(path, name, value, follow_symlinks=False)

    def removexattr(self, path: str, name: str) -> None:
        self.union.removexattr(path, name, follow_symlinks=False)

    def listdir(self, path: str) -> list[str]:
        return sorted(self.union.listdir(path))

    def lstat(self, path: str) -> os.stat_result:
        return self.union.lstat(path)

    def readlink(self, path: str) -> str:
        return str(self.union.readlink(path))

    def listxattr(self, path: str) -> list[str]:
        return sorted(self.union.listxattr(path, follow_symlinks=False))

    def getxattr(self, path: str, name: str) -> bytes:
        return self.union.getxattr(path, name, follow_symlinks=False)


Actor = Mounted | InProcess


def snapshot(actor: Actor, *, times: bool = True) -> dict[str, tuple[Any, ...]]:
    """Return everything that is in the tree, by path: type, mode, owner, links, size, contents, xattrs, times of old.

    Times are those that a layer or `utime` set; one that the test itself made new is `now`.
    """
    found: dict[str, tuple[Any, ...]] = {}

    def visit(path: str) -> None:
        st = actor.lstat(path)
        kind = stat.S_IFMT(st.st_mode)
        held: Any = None
        if kind == stat.S_IFREG:
            held = actor.read(path)
        elif kind == stat.S_IFLNK:
            held = actor.readlink(path)
        links = None if kind == stat.S_IFDIR else st.st_nlink
        xattrs = tuple((name, actor.getxattr(path, name)) for name in actor.listxattr(path))
        when = st.st_mtime_ns if times and st.st_mtime_ns < _RECENT else "now"
        found[path] = (oct(st.st_mode), st.st_uid, st.st_gid, links, held, xattrs, when)
        if kind == stat.S_IFDIR:
            for name in actor.listdir(path):
                visit(f"{path}/{name}" if path else name)

    visit("")
    return found


def inodes(actor: Actor) -> dict[str, int]:
    """Return the inode number of everything in the tree, by path."""
    found: dict[str, int] = {}

    def visit(path: str) -> None:
        st = actor.lstat(path)
        found[path] = st.st_ino
        if stat.S_ISDIR(st.st_mode):
            for name in actor.listdir(path):
                visit(f"{path}/{name}" if path else name)

    visit("")
    return found


def mount_kernel(layers: list[Path], upper: Path | None, work: Path | None, target: Path, *options: str) -> None:
    """Mount by the kernel's driver with mount(8), layers base first."""
    words = ["lowerdir=" + ":".join(str(layer) for layer in reversed(layers)), *options]
    if upper is not None:
        words += [f"upperdir={upper}", f"workdir={work}"]
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", ",".join(words), str(target)], check=True)


def unmount(target: Path) -> None:
    """Unmount with umount(8)."""
    subprocess.run(["umount", str(target)], check=True)


def remove_tree(actor: Actor, path: str) -> None:
    """Remove a name, and what is in it if it is a directory."""
    if stat.S_ISDIR(actor.lstat(path).st_mode):
        for name in actor.listdir(path):
            remove_tree(actor, os.path.join(path, name))
        actor.rmdir(path)
    else:
        actor.unlink(path)
