"""The 512-byte header of tar, read and written on bytes: ustar, its GNU and old forms.

Implements POSIX.1-2017 pax "ustar Interchange Format" and the GNU additions (tar manual, "Basic Tar Format"): base-256
numbers and the old GNU sparse maps. Extended headers are `pax`'s.
"""

from __future__ import annotations

import struct
import zlib
from functools import lru_cache

BLOCK = 512
ZEROS = bytes(BLOCK)

GNU_LONGLINK = b"K"
GNU_LONGNAME = b"L"
GNU_SPARSE = b"S"
GNU_DUMPDIR = b"D"
GNU_VOLUME = b"V"
PAX_NEXT = (b"x", b"X")  # X: Solaris's spelling
PAX_GLOBAL = b"g"

_HEADER = struct.Struct("100s8s8s8s12s12s8sc100s8s32s32s8s8s155s12x")
#: The fields in order: name mode uid gid size mtime chksum type link magic uname gname major minor prefix.
Fields = tuple[
    bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes
]  # fmt: skip

_BASE256 = 0x80
_MIN_TIME, _MAX_TIME = -(1 << 63), (1 << 63) - 1


class BadHeader(ValueError):
    """A header, or a number or record in it, is not what the format allows."""


def split(block: bytes) -> Fields:
    """Return the fields of a header block after checking its sum; BadHeader otherwise."""
    fields: Fields = _HEADER.unpack(block)
    # adler32's low half is 1 + the sum of the bytes modulo 65521, which 256 bytes cannot reach: a sum at C speed.
    total = (zlib.adler32(block[:256]) & 0xFFFF) + (zlib.adler32(block[256:]) & 0xFFFF) - 2
    total += 8 * 0x20 - sum(fields[6])
    try:
        claimed = number(fields[6])
    except BadHeader:
        claimed = -1
    if claimed != total and claimed != _signed_sum(block):  # the second is slow, and rarely needed
        raise BadHeader("a header's checksum is wrong: this is not a tar archive, or it is damaged")
    return fields


def _signed_sum(block: bytes) -> int:
    """Return the checksum as some old programs made it, from signed characters."""
    values: tuple[int, ...] = struct.unpack("148b8x356b", block)
    return sum(values) + 8 * 0x20


def text(field: bytes) -> bytes:
    """Return a text field up to its first NUL."""
    end = field.find(b"\0")
    return field if end < 0 else field[:end]


@lru_cache(maxsize=4096)  # modes, owners and times repeat
def number(field: bytes) -> int:
    """Return a numeric field: octal digits between blanks and NULs, or base-256; BadHeader otherwise."""
    if field[0] & _BASE256:
        value = int.from_bytes(field, "big")
        bits = 8 * len(field)
        if field[0] & 0x40:  # two's complement, the top bit being the marker
            return value - (1 << bits)
        return value - (1 << (bits - 1))
    end = field.find(b"\0")
    digits = (field if end < 0 else field[:end]).strip(b" ")
    if not digits:
        return 0
    try:
        # int() alone would take signs, underscores and other blanks.
        if digits.isdigit():
            return int(digits, 8)
    except ValueError:
        pass
    raise BadHeader(f"{field!r} is not an octal number")


@lru_cache(maxsize=4096)
def time(field: bytes) -> int:
    """Return a numeric field of seconds as nanoseconds; BadHeader for what no kernel has as a time."""
    return nanoseconds(number(field))


def nanoseconds(seconds: int, rest: int = 0) -> int:
    """Return a time as nanoseconds; BadHeader for one that does not fit the kernel's 64 bits of seconds."""
    if not _MIN_TIME < seconds < _MAX_TIME:
        raise BadHeader("a time is out of range")
    return seconds * 10**9 + rest


def sparse_map(block: bytes, start: int, count: int) -> list[tuple[int, int]]:
    """Return the (offset, length) pairs of an old GNU sparse map in `block`, up to its first empty one."""
    pairs = []
    for at in range(start, start + 24 * count, 24):
        if not block[at]:
            break
        pairs.append((number(block[at : at + 12]), number(block[at + 12 : at + 24])))
    return pairs


def make(
    *,
    name: bytes,
    prefix: bytes = b"",
    mode: int,
    uid: int,
    gid: int,
    size: int,
    mtime: int,
    kind: bytes,
    link: bytes = b"",
    major: int = 0,
    minor: int = 0,
) -> bytes:
    """Return a ustar header block; every value fits its field (`fits`)."""
    block = _HEADER.pack(
        name, b"%07o\0" % mode, b"%07o\0" % uid, b"%07o\0" % gid, b"%011o\0" % size, b"%011o\0" % mtime, b" " * 8, kind,
        link, b"ustar\x0000", b"", b"", b"%07o\0" % major, b"%07o\0" % minor, prefix,
    )  # fmt: skip
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def fits(value: int, digits: int) -> bool:
    """Tell whether `value` can be written with that many octal digits."""
    return 0 <= value < 1 << 3 * digits


def padding(size: int) -> int:
    """Return how many bytes follow content of `size` bytes up to the next block."""
    return -size % BLOCK
