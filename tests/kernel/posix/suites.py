"""Stories in the manner of `scenarios`, of what public conformance suites and other unions' users have met."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from tests.helpers.unions import answer

_MANY = 3000


def _fill(folder: Path) -> None:
    for number in range(_MANY):
        (folder / f"file{number:05}").touch()


def a_listing_while_names_move_there_and_back(top: Path) -> Any:
    """Move each name away and back once it was listed: the listing shows all, and ends (xfstests generic/736)."""
    folder = top / "dir"
    _fill(folder)
    seen = []
    with os.scandir(folder) as entries:
        for entry in entries:
            seen.append(entry.name)
            if len(seen) > 3 * _MANY:
                return "no end"
            os.rename(entry.path, top / "away")
            os.rename(top / "away", entry.path)
    return len(set(seen)), len(os.listdir(folder))


def a_listing_while_names_become_others(top: Path) -> Any:
    """Give each name that was listed another one: nothing is left out, and there is an end."""
    folder = top / "dir"
    _fill(folder)
    seen = set()
    with os.scandir(folder) as entries:
        for number, entry in enumerate(entries):
            if number > 3 * _MANY:
                return "no end"
            seen.add(entry.name.partition(".")[0])
            os.rename(entry.path, f"{folder}/{entry.name}.old")
    return len(seen), len(os.listdir(folder))


def a_listing_again_from_anywhere(top: Path) -> Any:
    """Read a directory anew from places that it was read to, and from its beginning, by one descriptor."""
    folder = top / "dir"
    _fill(folder)
    (folder / "file00000").rename(folder / "moved")
    fd = os.open(folder, os.O_RDONLY)
    try:
        once = os.listdir(fd)  # leaves the descriptor where it was: at its beginning
        (folder / "later").touch()
        again = os.listdir(fd)
        return len(once), len(set(once)), len(again), sorted(set(again) - set(once))
    finally:
        os.close(fd)


def many_attributes(top: Path) -> Any:
    """Set, list, replace and remove some ninety of them, as many as a block takes (xfstests generic/020)."""
    path = top / "file"
    for number in range(90):
        os.setxattr(path, f"user.attribute_{number}", b"value_%d" % number)
    listed = sorted(os.listxattr(path))
    values = [os.getxattr(path, name) for name in listed]
    for number in range(90):
        os.removexattr(path, f"user.attribute_{number}")
    return listed, values, os.listxattr(path)


def large_attributes(top: Path) -> Any:
    """Set values and names of all sizes up to what is too much for everybody."""
    path = top / "dir" / "one"
    said = []
    for size in (0, 1, 3000, 3500, 70_000):
        said.append(answer(partial(os.setxattr, path, "user.large", b"x" * size)))
        said.append(answer(lambda: len(os.getxattr(path, "user.large"))))
    for length in (250, 251, 300):
        name = "user." + "n" * length
        said += [
            answer(partial(os.setxattr, path, name, b"")),
            answer(partial(os.getxattr, path, name)),
            answer(partial(os.removexattr, path, name)),
        ]
    return said, sorted(os.listxattr(path))


def reading_moves_the_time_of_access(top: Path) -> Any:
    """Read a file that was written long after it was read: the time of access follows (relatime)."""
    path = top / "new"
    path.write_text("text")
    os.utime(path, ns=(10**18, 10**18))
    fd = os.open(path, os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.read(fd, 4)
    os.close(fd)
    st = os.stat(path)
    return st.st_atime_ns > 10**18, st.st_mtime_ns


def a_path_of_almost_path_max(top: Path) -> Any:
    """Make, read, change, move and remove a file whose path is as long as a path may be."""
    depth = (4095 - len(os.fsencode(top)) - 60) // 101
    at = top
    for _ in range(depth):
        at = at / ("d" * 100)
        at.mkdir()
    name = "f" * (4095 - len(os.fsencode(at)) - 1)
    path = at / name
    path.write_text("x")
    said: list[Any] = [len(os.fsencode(path)), path.read_text(), os.stat(path).st_size]
    path.chmod(0o600)
    os.setxattr(path, "user.x", b"1")
    os.rename(path, at / "short")
    os.link(at / "short", path)
    said += [os.stat(path).st_nlink, os.getxattr(path, "user.x"), len(os.listdir(at))]
    said.append(answer(lambda: os.stat(f"{path}f")))
    os.unlink(path)
    return said[:1] == [4095], said[1:]


def names_that_are_too_long(top: Path) -> Any:
    """Use a name of 256 bytes in every call that takes one: ENAMETOOLONG, also where a mark has to be made."""
    long, good = top / ("n" * 256), top / ("g" * 255)
    calls: list[Callable[[], object]] = [
        lambda: os.open(long, os.O_RDONLY),
        lambda: os.open(long, os.O_CREAT | os.O_WRONLY),
        lambda: os.mkdir(long),
        lambda: os.symlink("x", long),
        lambda: os.mkfifo(long),
        lambda: os.link(top / "file", long),
        lambda: os.rename(top / "file", long),
        lambda: os.rename(top / "dir", long),
        lambda: os.unlink(long),
        lambda: os.rmdir(long),
        lambda: os.rename(top / "file", good),
        lambda: os.rename(top / "dir", top / ("h" * 255)),
        lambda: os.unlink(good),
        lambda: os.unlink(top / "twin"),
    ]
    return [answer(call) for call in calls], sorted(os.listdir(top))


def makers_of_links_and_names_that_go(top: Path) -> Any:
    """Link one file of a layer from several processes while others remove what they made: the count is right."""
    code = (
        "import os, sys\n"
        "top, me = sys.argv[1:]\n"
        "for n in range(60):\n"
        "    os.link(f'{top}/twin', f'{top}/{me}-{n}')\n"
        "    if n % 2:\n"
        "        os.unlink(f'{top}/{me}-{n - 1}')\n"
        "        os.rename(f'{top}/{me}-{n}', f'{top}/kept-{me}-{n}')\n"
    )
    children = [subprocess.Popen([sys.executable, "-c", code, str(top), str(me)]) for me in range(4)]
    statuses = [child.wait() for child in children]
    kept = [top / name for name in os.listdir(top) if name.startswith("kept-")]
    numbers = {os.stat(path).st_ino for path in (*kept, top / "twin", top / "twin2")}
    return statuses, len(kept), len(numbers), os.stat(top / "twin2").st_nlink


def a_link_of_a_layer_to_the_mount_itself(top: Path) -> Any:
    """Set attributes, owner and times of a link that leads into the mount, and sync: nobody waits for himself."""
    link = top / "to-itself"
    os.symlink(str(top / "dir"), link)
    said = [
        answer(lambda: os.setxattr(link, "user.x", b"1", follow_symlinks=False)),
        answer(lambda: os.setxattr(link, "trusted.x", b"1", follow_symlinks=False)),
        answer(lambda: os.getxattr(link, "trusted.x", follow_symlinks=False)),
        answer(lambda: os.listxattr(top / "dir")),
        answer(lambda: os.lchown(link, 5, 6)),
        answer(lambda: os.utime(link, ns=(1, 2), follow_symlinks=False)),
    ]
    fd = os.open(top / "dir", os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)
    return said, os.lstat(link).st_mtime_ns, os.stat(top / "dir").st_uid


def nothing_shows_marks(top: Path) -> Any:
    """Remove, replace and move what layers have: no listing shows a mark, and no mark can be asked for."""
    os.unlink(top / "file")
    os.rename(top / "dir", top / "moved")
    os.unlink(top / "moved/one")
    os.mkdir(top / "dir")
    os.unlink(top / "twin")
    marks = ("opaque", "redirect", "origin", "impure", "metacopy", "nlink", "whiteout")
    asked = {
        answer(partial(os.getxattr, top / path, f"trusted.overlay.{mark}"))
        for mark in marks
        for path in (".", "dir", "moved", "twin2")
    }
    return (
        sorted(os.listdir(top)),
        os.listdir(top / "moved"),
        os.listdir(top / "dir"),
        [os.listxattr(top / path) for path in (".", "dir", "moved", "twin2")],
        asked == {("fails", errno.errorcode[errno.ENODATA])},
    )


SCENARIOS = {
    name: value
    for name, value in list(globals().items())
    if callable(value) and getattr(value, "__module__", "") == __name__ and not name.startswith("_")
}
