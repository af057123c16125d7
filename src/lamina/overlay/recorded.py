"""Owner, mode and device of an entry kept in an xattr, where the disk cannot hold them (docs/formats/recorded-owners).

One spelling is written, `user.lamina.owner`; those of fuse-overlayfs and containers-storage are read too.
"""

from __future__ import annotations

import os
import stat
from typing import Any

from lamina.linux.xattr import getxattr

#: Spellings, the one that is written first.
ATTRIBUTE = b"user.lamina.owner"
_SPELLINGS = (ATTRIBUTE, b"user.containers.override_stat", b"user.fuseoverlayfs.override_stat")

_TYPES = {b"char": stat.S_IFCHR, b"block": stat.S_IFBLK}
_NO_ID = 0xFFFFFFFF  # "none" to chown(2)


class Record:
    """What is recorded: `mode` are the permission bits; `kind` is S_IFCHR or S_IFBLK with `rdev` for a device, or 0."""

    __slots__ = ("gid", "kind", "mode", "rdev", "uid")

    def __init__(self, uid: int, gid: int, mode: int, kind: int = 0, rdev: int = 0) -> None:
        self.uid = uid
        self.gid = gid
        self.mode = mode
        self.kind = kind
        self.rdev = rdev

    def text(self) -> bytes:
        """Return the attribute's value: UID:GID:MODE, and for a device :char-MAJOR-MINOR or :block-MAJOR-MINOR."""
        owner = b"%d:%d:%04o" % (self.uid, self.gid, self.mode)
        if not self.kind:
            return owner
        word = b"char" if self.kind == stat.S_IFCHR else b"block"
        return owner + b":%b-%d-%d" % (word, os.major(self.rdev), os.minor(self.rdev))


def parse(text: bytes) -> Record | None:
    """Return the record in an attribute's value, or None for what is none: a layer may hold anything."""
    fields = text.split(b":")
    if len(fields) not in (3, 4) or not all(field.isdigit() for field in fields[:3]):
        return None
    try:
        uid, gid, mode = int(fields[0]), int(fields[1]), int(fields[2], 8)
    except ValueError:
        return None
    if uid >= _NO_ID or gid >= _NO_ID:
        return None
    kind, rdev = _device(fields[3]) if len(fields) == 4 else (0, 0)
    return Record(uid, gid, mode & 0o7777, kind, rdev)


def _device(word: bytes) -> tuple[int, int]:
    """Return type and number for `char-1-3`; zeros for the words of what is no device (file, dir, symlink)."""
    name, *numbers = word.split(b"-")
    kind = _TYPES.get(name, 0)
    if not kind or len(numbers) != 2 or not all(number.isdigit() and len(number) < 9 for number in numbers):
        return 0, 0
    major, minor = (int(number) for number in numbers)
    if (not major and not minor) or major >= 1 << 12 or minor >= 1 << 20:
        return 0, 0  # 0:0 would be a whiteout
    return kind, os.makedev(major, minor)


def read(fd: int, *, at: bytes = b"") -> Record | None:
    """Return what is recorded of `fd`, or of the entry `at` in it; None for nothing."""
    for attribute in _SPELLINGS:
        try:
            value = getxattr(fd, attribute, at=at)
        except OSError:  # no user.* attributes of what may not be read, nor of this type of entry
            return None
        if value is not None and (record := parse(value)):
            return record
    return None


def apply(st: os.stat_result, record: Record) -> os.stat_result:
    """Return the state with what is recorded in place of what the disk says."""
    kind = stat.S_IFMT(st.st_mode)
    # A device stands on disk as an empty regular file; anything else that claims to be one is not believed.
    device = record.kind if record.kind and kind == stat.S_IFREG and not st.st_size else 0
    changed = changed_state(st, record.uid, record.gid, (device or kind) | record.mode)
    return with_device(changed, record.rdev) if device else changed


def changed_state(st: os.stat_result, uid: int, gid: int, mode: int) -> os.stat_result:
    """Return the state with another owner and mode."""
    fields, named = _parts(st)
    return os.stat_result((mode, *fields[1:4], uid, gid, *fields[6:]), named)


def emptied(st: os.stat_result) -> os.stat_result:
    """Return the state of a file without its data."""
    fields, named = _parts(st)
    return os.stat_result((*fields[:6], 0, *fields[7:]), named)


def with_device(st: os.stat_result, rdev: int) -> os.stat_result:
    """Return the state with another device number."""
    fields, named = _parts(st)
    return os.stat_result(fields, {**named, "st_rdev": rdev})


def _parts(st: os.stat_result) -> tuple[tuple[int, ...], dict[str, object]]:
    reduced: Any = st.__reduce__()[1]  # the ten integers of old, and the rest by name
    return reduced[0], reduced[1]
