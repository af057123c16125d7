"""Inode numbers: unique in the union, and the same before and after a copy-up and a remount.

A file shows the number that it has where it came from. Layers on other file systems than the first one get numbers of
their own by the top byte. What was copied up keeps the number of its origin, which the upper remembers in the xattr
`overlay.origin`, in the kernel's form (struct ovl_fb of fs/overlayfs/overlayfs.h): a header, the file system's UUID,
and the file handle, out of which the number is read for the file systems whose handles are known.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from typing import Any

from lamina.overlay.union.lower import Lower

_HEADER = struct.Struct("=BBBBB")  # version, magic, length, flags, type of the handle
_MAGIC = 0xFB
_BIG_ENDIAN = 1
_LITTLE = 0  # the flag is set on big-endian machines alone
_UUID = 16


_SHIFT = 56
_LOW = (1 << _SHIFT) - 1


class Numbers:
    """The numbers of a union over `branches`, base first, the upper last."""

    __slots__ = ("_devices", "_flags", "_uuids")

    def __init__(self, branches: Sequence[Lower]) -> None:
        self._devices: dict[int, int] = {}
        self._uuids: dict[int, bytes] = {}
        self._flags = _LITTLE if struct.pack("=H", 1) == struct.pack("<H", 1) else _BIG_ENDIAN
        for branch in branches:
            if branch.device not in self._devices:
                self._devices[branch.device] = len(self._devices)
                if (uuid := branch.uuid()) is not None:
                    self._uuids[branch.device] = uuid

    def shown(self, device: int, ino: int) -> int:
        """Return the number in the union of inode `ino` of the file system `device`."""
        # A layer may reach into another file system by a mount inside it: numbered as it is met.
        index = self._devices.setdefault(device, len(self._devices))
        return ino if not index and ino <= _LOW else (ino & _LOW) | (index & 0xFF) << _SHIFT

    def origin(self, branch: Lower, path: bytes) -> bytes:
        """Return the value of `overlay.origin` for the entry of a lower layer; b"" where it has no handle."""
        found = branch.handle(path)
        if found is None:
            return b""
        kind, fid = found
        length = _HEADER.size + _UUID + len(fid)
        uuid = self._uuids.get(branch.device, bytes(_UUID))
        return _HEADER.pack(0, _MAGIC, length, self._flags, kind) + uuid + fid

    def of_origin(self, value: bytes) -> int | None:
        """Return the number in the union that an `overlay.origin` stands for, or None where it cannot be read."""
        if len(value) <= _HEADER.size + _UUID:
            return None
        version, magic, length, flags, kind = _HEADER.unpack_from(value)
        if version or magic != _MAGIC or length != len(value) or flags & _BIG_ENDIAN != self._flags:
            return None
        uuid, fid = value[_HEADER.size : _HEADER.size + _UUID], value[_HEADER.size + _UUID :]
        ino = _ino_of(kind, fid)
        devices = [device for device, known in self._uuids.items() if known == uuid]
        # Two file systems with one UUID, or none that says its own: the handle could be of either.
        return None if ino is None or len(devices) != 1 else self.shown(devices[0], ino)


def _ino_of(kind: int, fid: bytes) -> int | None:
    """Return the inode number inside a file handle, or None for a kind that is not known."""
    match kind, len(fid):
        case 1, 8:  # ext4, xfs with short numbers: inode, generation
            return int(struct.unpack("=II", fid)[0])
        case 1, 12:  # tmpfs: generation, inode in two halves
            _, low, high = struct.unpack("=III", fid)
            return int(low | high << 32)
        case 0x81, 12:  # xfs: inode, generation
            return int(struct.unpack("=QI", fid)[0])
        case 0x4D, 20:  # btrfs: object, subvolume, generation
            return int(struct.unpack("=QQI", fid)[0])
    return None


def renumbered(st: os.stat_result, ino: int, nlink: int) -> os.stat_result:
    """Return the state with another inode number and link count."""
    reduced: Any = st.__reduce__()[1]  # the ten integers of old, and the rest by name
    fields, named = reduced
    return os.stat_result((fields[0], ino, fields[2], nlink, *fields[4:]), named)
