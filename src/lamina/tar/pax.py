"""PAX extended headers on bytes: records, times, and what they say about an entry.

Implements POSIX.1-2017 pax "pax Extended Header", SCHILY.xattr records (star), and GNU's sparse formats 0.0, 0.1 and
1.0 (tar manual, "Storing Sparse Files"). Values are bytes whatever `hdrcharset` says.
"""

from __future__ import annotations

from lamina.tar.header import BadHeader, nanoseconds

XATTR = b"SCHILY.xattr."

Records = dict[bytes, bytes]

#: A sparse map may not claim more pieces than this: each costs memory here.
MAX_EXTENTS = 1 << 20
_MAX_DIGITS = 300  # int() is slow for many, and refuses 4300


def parse(data: bytes) -> Records:
    """Return the records of an extended header; BadHeader where one is malformed.

    The repeated GNU.sparse.offset and GNU.sparse.numbytes of format 0.0 come back as the GNU.sparse.map of format 0.1.
    """
    records: Records = {}
    pieces: list[bytes] = []
    position = 0
    while position < len(data):
        if data[position] == 0:  # some writers fill up with NULs
            if data[position:].strip(b"\0"):
                raise BadHeader("a PAX record does not begin with its length")
            break
        key, value, position = _record(data, position)
        if key in (b"GNU.sparse.offset", b"GNU.sparse.numbytes"):
            pieces.append(value)
        else:
            records[key] = value
    if pieces:
        records[b"GNU.sparse.map"] = b",".join(pieces)
    return records


def _record(data: bytes, start: int) -> tuple[bytes, bytes, int]:
    blank = data.find(b" ", start, start + 20)
    digits = data[start:blank] if blank > 0 else b""
    if not digits.isdigit():
        raise BadHeader("a PAX record does not begin with its length")
    end = start + int(digits)
    key, equals, value = data[blank + 1 : end - 1].partition(b"=")
    if end > len(data) or end <= blank + 1 or data[end - 1 : end] != b"\n" or not equals or not key:
        raise BadHeader("a PAX record is malformed")
    return key, value, end


def make(records: Records) -> bytes:
    """Return the records as an extended header's content, sorted by key."""
    return b"".join(_make_record(key, records[key]) for key in sorted(records))


def _make_record(key: bytes, value: bytes) -> bytes:
    rest = b" %b=%b\n" % (key, value)
    length = len(rest) + 1
    while len(b"%d" % length) + len(rest) != length:
        length = len(b"%d" % length) + len(rest)
    return b"%d%b" % (length, rest)


def xattr_key(name: bytes) -> bytes:
    """Return the key of the xattr `name`. A key cannot hold `=`: GNU tar writes it as %3D, and %25 for `%`.

    Names without need for it stay as they are, since other readers take keys as they stand.
    """
    if b"=" in name or b"%3D" in name or b"%25" in name:
        name = name.replace(b"%", b"%25").replace(b"=", b"%3D")
    return XATTR + name


def xattr_name(key: bytes) -> bytes:
    """Return the name of the xattr that the key `XATTR`... stands for."""
    name = key[len(XATTR) :]
    return name.replace(b"%3D", b"=").replace(b"%25", b"%") if b"%" in name else name


def time(value: bytes) -> int:
    """Return decimal seconds as nanoseconds, cut off after the ninth digit; BadHeader for what is no time."""
    whole, _, fraction = value.partition(b".")
    negative = whole.startswith(b"-")
    digits = whole[1:] if negative else whole
    if not (digits or fraction) or not (digits + fraction).isdigit():
        raise BadHeader(f"{value!r} is not a time")
    if len(digits) > _MAX_DIGITS:
        raise BadHeader("a time is out of range")
    time = nanoseconds(int(digits or b"0"), int(fraction[:9].ljust(9, b"0")))
    return -time if negative else time


def make_time(nanoseconds: int) -> bytes:
    """Return a time as decimal seconds with no more digits than it needs."""
    sign = b"-" if nanoseconds < 0 else b""
    seconds, rest = divmod(abs(nanoseconds), 10**9)
    return sign + (b"%d" % seconds if not rest else (b"%d.%09d" % (seconds, rest)).rstrip(b"0"))


def integer(value: bytes) -> int:
    """Return a decimal number that is not negative; BadHeader otherwise."""
    if not value.isdigit() or len(value) > 20:
        raise BadHeader(f"{value[:40]!r} is not a number")
    return int(value)


def sparse_map(value: bytes) -> list[tuple[int, int]]:
    """Return the (offset, length) pairs of GNU.sparse.map."""
    numbers = [integer(part) for part in value.split(b",")] if value else []
    if len(numbers) % 2 or len(numbers) > 2 * MAX_EXTENTS:
        raise BadHeader("the sparse map is malformed")
    return list(zip(numbers[::2], numbers[1::2], strict=True))
