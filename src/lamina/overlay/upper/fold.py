"""The steps by which a merge folds an upper into the topmost layer, entry by entry.

Whether a step is done is told by the upper alone: its entry is gone. So all steps can be carried out again after an
interruption, and those that are done do nothing. What the layer loses goes to a stage in the layer until all is done;
a layer is written to by one rename for each entry.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from lamina.errors import InvalidInput, shown
from lamina.linux.files import copy_data
from lamina.overlay import format as marks
from lamina.overlay.union.branch import Branch, join
from lamina.overlay.upper.compare import shown_xattrs
from lamina.overlay.upper.steps import drop_attribute, name_of, set_times, write_whiteout
from lamina.overlay.upper.stopped import Stopped, raw_marks

#: A directory in the layer for what is made and what is replaced. Our union shows names of this kind to nobody.
STAGE = b".wh..wh.lamina-merge"

#: Marks that are no part of what is shown, and would be wrong in a layer: they tell of the upper's own past.
_BOOKKEEPING = (b"origin", b"impure", b"nlink", b"layer", b"upper", b"redirect")


@dataclass(frozen=True, slots=True)
class MakeDirectory:
    """The layer gets a directory that the upper has, in place of what has inode `old` there (0: nothing has)."""

    path: bytes
    old: int
    opaque: bool

    def describe(self) -> str:
        return f"{'replace' if self.old else 'add'} the directory {shown(self.path)}"

    def do(self, room: Stopped) -> None:
        if lstat(room.upper, self.path) is None:
            return
        there = lstat(room.low, self.path)
        if there is not None:
            if there.st_ino != self.old:  # it is the one that this step made
                return
            _put_away(room.low, self.path)
        fresh = _stage_path(room.low)
        os.mkdir(fresh, 0o700, dir_fd=room.low.fd)
        if self.opaque:
            with room.low.proc_path(fresh) as proc:
                os.setxattr(proc, f"{room.space}opaque", b"y", follow_symlinks=False)
        _rename(room.low, fresh, room.low, self.path)


@dataclass(frozen=True, slots=True)
class Put:
    """What is no directory moves from the upper into the layer, in place of what is there.

    `first` is another name of the same file that moves before it, or b"": where it has to be copied, it is linked.
    """

    path: bytes
    first: bytes
    replaces: bool

    def describe(self) -> str:
        return f"{'replace' if self.replaces else 'add'} {shown(self.path)}"

    def do(self, room: Stopped) -> None:
        st = lstat(room.upper, self.path)
        if st is None:
            return
        there = lstat(room.low, self.path)
        if there is not None and stat.S_ISDIR(there.st_mode):
            _put_away(room.low, self.path)
        _strip(room, self.path)
        try:
            _rename(room.upper, self.path, room.low, self.path)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            self._copy(room, st)
        # Two names of one file: rename(2) leaves both where both are links to it already.
        with room.upper.near(self.path) as (fd, name), suppress(FileNotFoundError):
            os.unlink(name, dir_fd=fd)

    def _copy(self, room: Stopped, st: os.stat_result) -> None:
        """Copy the entry to the layer's file system and put it in place; the upper's is removed by the caller."""
        fresh = _stage_path(room.low)
        if self.first and lstat(room.low, self.first) is not None:
            with room.low.near(self.first) as (fd, name):
                os.link(name, fresh, src_dir_fd=fd, dst_dir_fd=room.low.fd, follow_symlinks=False)
        else:
            copy_entry(room, self.path, st, fresh)
        _rename(room.low, fresh, room.low, self.path)


@dataclass(frozen=True, slots=True)
class Hide:
    """A name that lower layers have is hidden by the layer as it was by the upper's `entry`."""

    path: bytes
    entry: bytes
    replaces: bool

    def describe(self) -> str:
        return f"{'replace' if self.replaces else 'add'} {shown(self.path)}, by a whiteout"

    def do(self, room: Stopped) -> None:
        if lstat(room.upper, self.entry) is None:
            return
        if lstat(room.low, self.path) is not None:
            _put_away(room.low, self.path)
        write_whiteout(room.low, self.path, room.space)
        room.upper.remove(self.entry)


@dataclass(frozen=True, slots=True)
class Erase:
    """A name that the upper's `entry` hid is removed from the layer; no other layer has it."""

    path: bytes
    entry: bytes
    there: bool

    def describe(self) -> str:
        return f"remove {shown(self.path)}" if self.there else f"forget the whiteout of {shown(self.path)}"

    def do(self, room: Stopped) -> None:
        if lstat(room.upper, self.entry) is None:
            return
        if lstat(room.low, self.path) is not None:
            _put_away(room.low, self.path)
        room.upper.remove(self.entry)


@dataclass(frozen=True, slots=True)
class Adopt:
    """A directory of the layer gets mode, owner, xattrs and these times from the upper's, which is empty by now."""

    path: bytes
    atime: int
    mtime: int

    def describe(self) -> str:
        return f"give {name_of(self.path)} its mode, owner, attributes and times"

    def do(self, room: Stopped) -> None:
        st = lstat(room.upper, self.path)
        if st is None:
            return
        with room.low.near(self.path) as (fd, name):
            os.chown(name, st.st_uid, st.st_gid, dir_fd=fd, follow_symlinks=False)
            os.chmod(name, stat.S_IMODE(st.st_mode), dir_fd=fd)
        kept = shown_xattrs(room.upper, self.path, room.space)
        for attribute in shown_xattrs(room.low, self.path, room.space).keys() - kept.keys():
            drop_attribute(room.low, self.path, attribute)
        put_xattrs(room.low, self.path, kept)
        set_times(room.low, self.path, self.atime, self.mtime)
        if self.path:
            _remove_empty(room.upper, self.path)


FoldStep = MakeDirectory | Put | Hide | Erase | Adopt
KINDS: dict[str, Callable[..., FoldStep]] = {kind.__name__: kind for kind in (MakeDirectory, Put, Hide, Erase, Adopt)}


def lstat(branch: Branch, path: bytes) -> os.stat_result | None:
    """Return the state of an entry, None where it does not exist."""
    try:
        return branch.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None


def copy_entry(room: Stopped, path: bytes, st: os.stat_result, new: bytes) -> None:
    """Make `new` of the layer a copy of what is no directory in the upper, but for overlayfs's marks, and on disk."""
    low = room.low
    if stat.S_ISREG(st.st_mode):
        data = room.upper.open(path, os.O_RDONLY)
        try:
            copy = low.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                copy_data(data, copy)
                os.fsync(copy)
            finally:
                os.close(copy)
        finally:
            os.close(data)
    elif stat.S_ISLNK(st.st_mode):
        os.symlink(room.upper.readlink(path), new, dir_fd=low.fd)
    else:
        os.mknod(new, st.st_mode, st.st_rdev, dir_fd=low.fd)
    os.chown(new, st.st_uid, st.st_gid, dir_fd=low.fd, follow_symlinks=False)
    if not stat.S_ISLNK(st.st_mode):
        os.chmod(new, stat.S_IMODE(st.st_mode), dir_fd=low.fd)
    put_xattrs(low, new, shown_xattrs(room.upper, path, room.space))
    set_times(low, new, st.st_atime_ns, st.st_mtime_ns)


def put_xattrs(branch: Branch, path: bytes, attributes: dict[str, bytes]) -> None:
    """Set extended attributes of an entry; a label that the file system does not take is left out."""
    with branch.proc_path(path) as proc:
        for name, value in attributes.items():
            try:
                os.setxattr(proc, name, value, follow_symlinks=False)
            except OSError as error:
                if name != "security.selinux" or error.errno not in (errno.EOPNOTSUPP, errno.EPERM):
                    raise


def _rename(source: Branch, path: bytes, target: Branch, new: bytes) -> None:
    with source.near(path) as (fd, name), target.near(new) as (new_fd, new_name):
        os.rename(name, new_name, src_dir_fd=fd, dst_dir_fd=new_fd)


def _stage_path(low: Branch) -> bytes:
    """Return a free path in the stage of the layer."""
    with suppress(FileExistsError):
        os.mkdir(STAGE, 0o700, dir_fd=low.fd)
    taken = {int(name) for name in low.names(STAGE)}
    return join(STAGE, b"%d" % (max(taken, default=0) + 1))


def _put_away(low: Branch, path: bytes) -> None:
    """Move an entry of the layer to the stage: it is removed when all is done."""
    _rename(low, path, low, _stage_path(low))


def _strip(room: Stopped, path: bytes) -> None:
    for space, mark in raw_marks(room.upper, path):
        if mark in _BOOKKEEPING and space == room.space.encode():
            drop_attribute(room.upper, path, (space + mark).decode())


def _remove_empty(upper: Branch, path: bytes) -> None:
    """Remove a directory in which nothing is left but entries that stand for nothing."""
    for name in upper.names(path):
        if not name.startswith(marks.META_PREFIX):
            raise InvalidInput("merge", shown(join(path, name)), "it came into the upper meanwhile")
    upper.remove(path)
