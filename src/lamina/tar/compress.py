"""Reading a stream that may be compressed: gzip, zstd, xz, bzip2 or none, told apart by their first bytes.

Concatenated members are read as one stream. What follows the last member and is no further member is left unread, as
gzip, zstd, xz and tar do. Damage and truncation are `InvalidInput` that names the offset in the compressed stream.
"""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Callable
from typing import Protocol

from lamina.errors import InvalidInput

_READ = 1 << 18
_WRITE = 1 << 20
_PATIENCE = 100  # milliseconds in which `stop` is noticed


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1, /) -> bytes: ...


def sniff(head: bytes) -> str:
    """Return "gzip", "zstd", "xz", "bzip2" or "none" for a stream that begins with `head` (6 bytes are enough)."""
    if head.startswith(b"\x1f\x8b"):
        return "gzip"
    # A zstd file may begin with a skippable frame (pzstd's do).
    if head.startswith(b"\x28\xb5\x2f\xfd") or (head[1:4] == b"\x2a\x4d\x18" and head[0] & 0xF0 == 0x50):
        return "zstd"
    if head.startswith(b"\xfd7zXZ\x00"):
        return "xz"
    if head.startswith(b"BZh"):
        return "bzip2"
    return "none"


class Decompressed:
    """The uncompressed bytes of what can be read from a descriptor, in pieces of at most 1 MiB.

    The descriptor stays the caller's; with `length`, only so many bytes of it are read. `compression` is what was
    found, `consumed` how many bytes were read so far.
    """

    def __init__(self, fd: int, length: int | None = None) -> None:
        self._fd = fd
        self._poll = select.poll()
        self._poll.register(fd, select.POLLIN)
        self._stopped = False
        self._left = sys.maxsize if length is None else length
        self.consumed = 0
        self._pending = b""
        while len(self._pending) < 6 and self._fill():
            pass
        self.compression = sniff(self._pending)
        self._make, self._errors = _codec(self.compression)
        self._codec = self._make() if self._make else None

    def stop(self) -> None:
        """Let a thread that waits in `read` come back soon, whatever it returns. For another thread to call."""
        self._stopped = True

    def read(self) -> bytes:
        """Return the next piece, b"" at the end."""
        if self._codec is None:
            return self._read_plain()
        while True:
            if self._codec.eof and not self._next_member():
                return b""
            piece = self._step()
            if piece:
                return piece

    def _read_plain(self) -> bytes:
        # Four reads of a pipe make one piece: fewer, larger pieces cost the reader less.
        parts = [self._pending] if self._pending else []
        size = len(self._pending)
        self._pending = b""
        while size < _WRITE:
            part = self._take(_WRITE - size)
            if not part:
                break
            parts.append(part)
            size += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _step(self) -> bytes:
        assert self._codec is not None
        if self._codec.needs_input and not self._pending and not self._fill():
            raise self._damaged("the compressed stream is truncated")
        data, self._pending = self._pending, b""
        try:
            return self._codec.decompress(data, _WRITE)
        except self._errors as error:
            raise self._damaged(f"the compressed stream is damaged ({error})") from error

    def _next_member(self) -> bool:
        assert self._codec is not None and self._make is not None
        self._pending = self._codec.unused_data
        while len(self._pending) < 6 and self._fill():
            pass
        if self.compression == "xz":  # stream padding: multiples of four zero bytes
            while not self._pending.strip(b"\0") and self._fill():
                pass
            self._pending = self._pending.lstrip(b"\0")
            while len(self._pending) < 6 and self._fill():
                pass
        if sniff(self._pending) != self.compression:
            return False
        self._codec = self._make()
        return True

    def _fill(self) -> bool:
        data = self._take(_READ)
        self._pending += data
        return bool(data)

    def _take(self, most: int) -> bytes:
        while not self._poll.poll(_PATIENCE):  # a pipe may stall for ever; a file is always ready
            if self._stopped:
                return b""
        data = os.read(self._fd, min(most, self._left))
        self._left -= len(data)
        self.consumed += len(data)
        return data

    def _damaged(self, reason: str) -> InvalidInput:
        return InvalidInput("read", f"the {self.compression} stream", f"{reason} near byte {self.consumed}")


def _codec(compression: str) -> tuple[Callable[[], _Decompressor] | None, tuple[type[Exception], ...]]:
    if compression == "gzip":
        from isal import igzip_lib

        failure: type[Exception] = igzip_lib.IsalError  # type: ignore[assignment]  # its stub says an instance
        return lambda: igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP), (failure,)
    if compression == "zstd":
        from lamina.tar.zstd import ZstdDecompressor, ZstdError

        return ZstdDecompressor, (ZstdError,)
    if compression == "xz":
        import lzma

        return lzma.LZMADecompressor, (lzma.LZMAError,)
    if compression == "bzip2":
        import bz2

        return bz2.BZ2Decompressor, (OSError, ValueError)
    return None, ()
