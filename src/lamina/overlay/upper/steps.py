"""What the tools do to an upper, one small change a step: values that say what they will do, and do it.

A step can be carried out again: where it is done already, nothing happens.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Protocol

from lamina.errors import shown
from lamina.linux.files import syncfs
from lamina.overlay import format as marks
from lamina.overlay.union.branch import Branch
from lamina.overlay.upper.stopped import Stopped


class Step(Protocol):
    """One change."""

    def describe(self) -> str:
        """Return it as a phrase for people: a verb and its object."""

    def do(self, room: Stopped) -> None:
        """Carry it out."""


@dataclass(frozen=True, slots=True)
class Remove:
    """An entry of the upper, or of the work directory, is removed; its directory keeps its times."""

    path: bytes
    why: str
    work: bool = False

    def describe(self) -> str:
        return f"remove {'work/' if self.work else ''}{shown(self.path)}: {self.why}"

    def do(self, room: Stopped) -> None:
        branch = room.work if self.work else room.upper
        with times_kept(branch, self.path.rpartition(b"/")[0]):
            branch.remove(self.path)


@dataclass(frozen=True, slots=True)
class SetMark:
    """An entry of the upper gets `overlay.MARK`."""

    path: bytes
    mark: str
    value: bytes
    why: str

    def describe(self) -> str:
        return f"set overlay.{self.mark}={shown(self.value)} on {name_of(self.path)}: {self.why}"

    def do(self, room: Stopped) -> None:
        with room.upper.proc_path(self.path) as proc:
            os.setxattr(proc, room.space + self.mark, self.value, follow_symlinks=False)


@dataclass(frozen=True, slots=True)
class DropAttribute:
    """An entry of the upper loses an extended attribute, given by its full name."""

    path: bytes
    attribute: str
    why: str

    def describe(self) -> str:
        return f"remove {self.attribute} from {name_of(self.path)}: {self.why}"

    def do(self, room: Stopped) -> None:
        drop_attribute(room.upper, self.path, self.attribute)


@dataclass(frozen=True, slots=True)
class PutWhiteout:
    """A name that the upper does not have is hidden by it."""

    path: bytes
    why: str

    def describe(self) -> str:
        return f"hide {shown(self.path)}: {self.why}"

    def do(self, room: Stopped) -> None:
        write_whiteout(room.upper, self.path, room.space)


def carry_out(plan: Sequence[Step], room: Stopped) -> None:
    """Do what was planned, in order."""
    for step in plan:
        step.do(room)


def name_of(path: bytes) -> str:
    """Return a path for people; the upper itself is a dot."""
    return shown(path or b".")


def drop_attribute(branch: Branch, path: bytes, attribute: str) -> None:
    """Remove an extended attribute; its absence, also that of the entry, is accepted."""
    with suppress(FileNotFoundError), branch.proc_path(path) as proc:
        if attribute in os.listxattr(proc, follow_symlinks=False):
            os.removexattr(proc, attribute, follow_symlinks=False)


def write_whiteout(branch: Branch, path: bytes, space: str) -> None:
    """Make `path`, which does not exist, a whiteout; its directory keeps its times."""
    directory, _, name = path.rpartition(b"/")
    with times_kept(branch, directory):
        fd = branch.open(directory, os.O_PATH | os.O_DIRECTORY)
        try:
            with suppress(FileExistsError):
                marks.write_whiteout(fd, name, space)
        finally:
            os.close(fd)


@contextmanager
def times_kept(branch: Branch, path: bytes) -> Iterator[None]:
    """Give the directory `path` back the times that it had before the block; where it is not, nothing happens."""
    try:
        times = branch.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        times = None
    yield
    if times is not None:
        set_times(branch, path, times.st_atime_ns, times.st_mtime_ns)


def sync(branch: Branch) -> None:
    """Write the branch's file system to disk."""
    fd = branch.open(b"", os.O_RDONLY | os.O_DIRECTORY)
    try:
        syncfs(fd)
    finally:
        os.close(fd)


def set_times(branch: Branch, path: bytes, atime: int, mtime: int) -> None:
    """Set the times of an entry, in nanoseconds."""
    with branch.near(path) as (fd, name):
        os.utime(name, ns=(atime, mtime), dir_fd=fd, follow_symlinks=False)
