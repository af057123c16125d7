"""Compressing a stream, the same bytes for the same input every time: no names, no times, fixed levels.

The bytes may differ between versions of the libraries that make them, as they do between gzip's and zlib's: what was
once sent is kept or made anew, never assumed.
"""

from __future__ import annotations

from typing import Protocol

#: What can be made. The levels are ISA-L's best for gzip, zstd's own default: both are faster than most disks.
COMPRESSIONS = ("none", "gzip", "zstd")

_GZIP_LEVEL = 3
_GZIP_WINDOW = 31  # 15 bits, and 16 for gzip's framing
_ZSTD_LEVEL = 3


class Encoder(Protocol):
    """Takes a stream in pieces, gives it compressed in pieces."""

    def compress(self, data: bytes, /) -> bytes: ...

    def flush(self) -> bytes: ...


class _Plain:
    def compress(self, data: bytes, /) -> bytes:
        return data

    def flush(self) -> bytes:
        return b""


def encoder(compression: str) -> Encoder:
    """Return a new encoder for one of `COMPRESSIONS`."""
    if compression == "gzip":
        from isal import isal_zlib

        return isal_zlib.compressobj(_GZIP_LEVEL, isal_zlib.DEFLATED, _GZIP_WINDOW)
    if compression == "zstd":
        from lamina.tar.zstd import ZstdCompressor

        return ZstdCompressor(_ZSTD_LEVEL)
    return _Plain()
