"""Where a reader of a directory is: its place in the listing, and the place behind which this reading ends.

Opens of directories are stateless, so the offset that the kernel keeps for a reader is all that is known of it. What is
named anew stands at the end of a listing: without an end a program that renames each entry that it reads would read for
ever. Small values stay below 2**31, for 32-bit programs that know no others.
"""

from __future__ import annotations

_FEW, _MANY = 15, 31  # bits of a place: of a short listing, and of any
_SMALL = 1 << 2 * _FEW


def base(end: int) -> int:
    """Return what is added to the places of a reading that ends behind the place `end`."""
    return end << (_FEW if end < 1 << _FEW else _MANY)


def split(offset: int) -> tuple[int, int]:
    """Return the place and the end that are in an offset; 0 and 0 for the beginning of a reading."""
    bits = _FEW if offset < _SMALL else _MANY
    return offset & (1 << bits) - 1, offset >> bits
