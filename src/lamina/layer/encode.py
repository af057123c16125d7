"""Compressing a stream, the same bytes for the same input every time: no names, no times, fixed levels.

The bytes may differ between versions of the libraries that make them, as they do between gzip's and zlib's: what was
once sent is kept or made anew, never assumed.
"""

from __future__ import annotations

from typing import Protocol

from lamina.errors import InvalidInput

#: What can be made, each with its lowest, usual and highest level. The usual ones are ISA-L's best for gzip, zstd's own
#: default: both are faster than most disks.
COMPRESSIONS = {"none": (0, 0, 0), "gzip": (0, 3, 3), "zstd": (1, 3, 22)}

_GZIP_WINDOW = 31  # 15 bits, and 16 for gzip's framing


class Encoder(Protocol):
    """Takes a stream in pieces, gives it compressed in pieces."""

    def compress(self, data: bytes, /) -> bytes: ...

    def flush(self) -> bytes: ...


class _Plain:
    def compress(self, data: bytes, /) -> bytes:
        return data

    def flush(self) -> bytes:
        return b""


def parse_compression(text: str) -> tuple[str, int]:
    """Return one of `COMPRESSIONS` and the level that `text`, "NAME" or "NAME:LEVEL", means; InvalidInput otherwise."""
    name, colon, digits = text.partition(":")
    least, usual, most = COMPRESSIONS.get(name, (0, 0, 0))
    level = int(digits) if digits.isascii() and digits.isdigit() else usual
    if name not in COMPRESSIONS:
        raise InvalidInput("compress with", repr(text), f"it is none of {', '.join(COMPRESSIONS)}")
    if colon and (not digits.isdigit() or not least <= level <= most):
        raise InvalidInput("compress with", repr(text), f"{name} has the levels {least} to {most}")
    return name, level


def maker_of(compression: str) -> str:
    """Return what, if it is the same, makes the same bytes of the same: compression, level, library and its version."""
    name, level = parse_compression(compression)
    if name == "gzip":
        import isal

        return f"gzip:{level} isal {isal.__version__} {isal.ISAL_VERSION}"
    if name == "zstd":
        from lamina.tar.zstd import zstd_version

        return f"zstd:{level} libzstd {zstd_version}"
    return name


def encoder(compression: str) -> Encoder:
    """Return a new encoder for what `parse_compression` takes."""
    name, level = parse_compression(compression)
    if name == "gzip":
        from isal import isal_zlib

        return isal_zlib.compressobj(level, isal_zlib.DEFLATED, _GZIP_WINDOW)
    if name == "zstd":
        from lamina.tar.zstd import ZstdCompressor

        return ZstdCompressor(level)
    return _Plain()
