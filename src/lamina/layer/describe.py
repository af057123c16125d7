"""What is on disk as an entry of a tar archive: the reverse of `restore`."""

from __future__ import annotations

import os
import stat
import struct

from lamina.layer.owners import Owner
from lamina.layer.restore import CAPABILITY, SKIPPED
from lamina.linux.xattr import getxattr, listxattr
from lamina.overlay import format as marks
from lamina.overlay import recorded
from lamina.tar.entry import FILE, TYPES, Entry

_VFS_CAP_REVISION_MASK = 0xFF000000
_VFS_CAP_REVISION_2 = 0x02000000
_VFS_CAP_REVISION_3 = 0x03000000


def describe(name: bytes, st: os.stat_result, fd: int, *, at: bytes = b"") -> Entry:
    """Return the entry `name` for what has the state `st` and is `fd`, or is `at` in the directory `fd`.

    Sockets have no entry (KeyError); the target of a symbolic link is filled in, a hard link is the caller's business.
    """
    entry = Entry(name, TYPES[stat.S_IFMT(st.st_mode)])
    entry.mode = st.st_mode & 0o7777
    entry.uid, entry.gid = st.st_uid, st.st_gid
    entry.mtime = st.st_mtime_ns
    listed = listxattr(fd, at=at)
    if listed:  # most files have none, and each that is asked for costs a call
        entry.xattrs = _content(fd, at, listed)
    if listed and (stat.S_ISREG(st.st_mode) or stat.S_ISDIR(st.st_mode)):
        _take_record(entry, st, fd, at)
    if entry.kind == FILE:  # and not a recorded device
        entry.size = st.st_size
    elif stat.S_ISCHR(st.st_mode) or stat.S_ISBLK(st.st_mode):
        entry.major, entry.minor = os.major(st.st_rdev), os.minor(st.st_rdev)
    elif stat.S_ISLNK(st.st_mode):
        entry.mode = 0o777
        entry.link = os.readlink(at, dir_fd=fd)
    return entry


def _take_record(entry: Entry, st: os.stat_result, fd: int, at: bytes) -> None:
    """Take the owner, mode and device that stand in an xattr because the disk could not hold them."""
    record = recorded.read(fd, at=at)
    if record is None:
        return
    entry.uid, entry.gid, entry.mode = record.uid, record.gid, record.mode
    if record.kind and entry.kind == FILE and not st.st_size:
        entry.kind = TYPES[record.kind]
        entry.major, entry.minor = os.major(record.rdev), os.minor(record.rdev)


def _content(fd: int, at: bytes, listed: list[bytes]) -> dict[bytes, bytes]:
    """Return those of the `listed` xattrs that are content: none of overlayfs's own, no labels of the host."""
    found = {}
    for name in listed:
        if marks.is_mark(name) or name in SKIPPED:
            continue
        value = getxattr(fd, name, at=at)
        if value is not None:
            found[name] = _plain_capability(value) if name == CAPABILITY else value
    return found


def _plain_capability(value: bytes) -> bytes:
    """Return a file capability without the root id of a user namespace (version 3 as version 2)."""
    if len(value) != 24:
        return value
    (magic,) = struct.unpack_from("<I", value)
    if magic & _VFS_CAP_REVISION_MASK != _VFS_CAP_REVISION_3:
        return value
    return struct.pack("<I", magic & ~_VFS_CAP_REVISION_MASK | _VFS_CAP_REVISION_2) + value[4:20]


def overlay_owner(entry: Entry, owner: Owner, *, single_id: bool) -> None:
    """Put into `entry`, read from disk, what the owners table says that the disk does not hold.

    Owners on disk are the truth unless all files there have one id.
    """
    if single_id and not entry.uid and not entry.gid:
        entry.uid, entry.gid = owner.uid, owner.gid
    if owner.mode is not None and not (entry.mode ^ owner.mode) & 0o1777:
        entry.mode = owner.mode
    if owner.device is not None and entry.kind == FILE and not entry.size:
        entry.kind, entry.major, entry.minor = owner.device
    for name, value in owner.xattrs.items():
        entry.xattrs.setdefault(name, value)
