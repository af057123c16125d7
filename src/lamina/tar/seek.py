"""An archive in a file: its entries with the places of their content, which is passed over instead of read."""

from __future__ import annotations

import os

from lamina.tar.read import TarReader

_PIECE = 1 << 16


class _File:
    """The bytes of a file from its start; `offset` is where the next piece begins."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.offset = 0

    def read(self) -> bytes:
        data = os.pread(self._fd, _PIECE, self.offset)
        self.offset += len(data)
        return data


class SeekingReader(TarReader):
    """The entries of the archive in the regular file `fd`, which stays the caller's and is not compressed.

    `locate` says where the content of the entry at hand lies; what is between contents is not kept.
    """

    def __init__(self, fd: int) -> None:
        self._file = _File(fd)
        self._size = os.fstat(fd).st_size
        super().__init__(self._file, bytearray())

    def locate(self) -> int:
        """Return the offset of the stored content of the current entry, and go on behind it.

        InvalidInput where the file ends before the content does.
        """
        offset = self._file.offset - (len(self._buffer) - self._position)
        end = offset + self._left
        if end > self._size:
            raise self._bad("the archive is truncated")
        if end <= self._file.offset:
            self._position += self._left
        else:
            self._file.offset = end
            self._buffer, self._position = b"", 0
        self._left = 0
        self.literal.clear()
        return offset
