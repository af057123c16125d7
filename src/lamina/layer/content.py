"""Where the content of a file comes from while a layer is made: a tar archive, or a file that is there already."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from typing import Protocol

from lamina.errors import InvalidInput
from lamina.layer.digest import Digester
from lamina.linux import files
from lamina.linux.xattr import listxattr
from lamina.overlay import format as marks
from lamina.tar.entry import Entry
from lamina.tar.read import TarReader

_PIECE = 1 << 20
_PAGE = 4096
# Below this size a hole saves less than looking for it costs.
_MIN_SPARSE = 1 << 16
_ZERO_PAGE = bytes(_PAGE)
_ZEROS = bytes(_PIECE)


class Content(Protocol):
    """The content of the entry at hand, to be taken once or not at all."""

    def link(self, directory: int, name: bytes) -> int:
        """Let `name` in `directory` be the file itself that has the content, and return it open; -1: it is to be made.

        `write_to` is then called with that descriptor.
        """

    def write_to(self, fd: int, entry: Entry) -> None:
        """Write the content to the empty regular file `fd`."""


class StreamContent:
    """The content that a tar archive holds for its current entry."""

    def __init__(self, reader: TarReader) -> None:
        self._reader = reader

    def link(self, directory: int, name: bytes) -> int:
        """Return -1: an archive is no file of the layer."""
        return -1

    def write_to(self, fd: int, entry: Entry) -> None:
        """Write the content, with holes for a sparse entry and where pages of zeros make them worth it."""
        if entry.extents is None and entry.size < _MIN_SPARSE:
            left = entry.size
            while left:
                piece = self._reader.read(left)
                left -= len(piece)
                _write(fd, piece)
            return
        for start, length in ((0, entry.size),) if entry.extents is None else entry.extents:
            offset, end = start, start + length
            while offset < end:
                piece = self._reader.read(end - offset)
                write_sparsely(fd, piece, offset)
                offset += len(piece)
        os.ftruncate(fd, entry.size)


class FileContent:
    """The content of a file on disk, hashed as it goes by; the file system shares its blocks where it can.

    With `give` nobody needs the file any more: the layer takes it as it is, where it lies on the same file system.
    """

    def __init__(self, fd: int, digester: Digester, *, give: bool = False) -> None:
        self._fd = fd
        self._digester = digester
        self._give = give
        self._linked = False

    def link(self, directory: int, name: bytes) -> int:
        """Link the file, if it is given; one that the kernel has marked as copied up is not."""
        if not self._give or any(marks.is_mark(mark) for mark in listxattr(self._fd)):
            return -1
        try:
            os.link(f"/proc/self/fd/{self._fd}", name, dst_dir_fd=directory, follow_symlinks=True)
        except OSError:  # another file system, no /proc, too many links: then it is copied
            return -1
        self._linked = True
        return os.dup(self._fd)

    def write_to(self, fd: int, entry: Entry) -> None:
        """Write the content, keeping its holes."""
        shared = self._linked or files.reflink(self._fd, fd)
        offset = 0
        for start, end in files.data_segments(self._fd, entry.size):
            self._zeros(start - offset)
            offset = start
            for piece in read_range(self._fd, start, end - start, entry.name):
                self._digester.update(piece)
                if not shared:
                    write_sparsely(fd, memoryview(piece), offset)
                offset += len(piece)
        self._zeros(entry.size - offset)
        if not self._linked:  # also after a reflink: the source may have grown since its size was read
            os.ftruncate(fd, entry.size)

    def _zeros(self, count: int) -> None:
        while count > 0:
            self._digester.update(_ZEROS[:count])
            count -= _PIECE


def read_range(fd: int, offset: int, length: int, name: bytes) -> Iterator[bytes]:
    """Yield `length` bytes at `offset` in pieces; InvalidInput naming `name` where the file ends before."""
    end = offset + length
    while offset < end:
        piece = os.pread(fd, min(end - offset, _PIECE), offset)
        if not piece:
            raise InvalidInput("read", name, "it became shorter while it was read")
        offset += len(piece)
        yield piece


def write_sparsely(fd: int, piece: memoryview, offset: int) -> None:
    """Write `piece` at `offset`, leaving out whole pages of zeros: the file is new, so that holes read as zeros."""
    head = min(-offset % _PAGE, len(piece))
    if head:
        _pwrite(fd, piece[:head], offset)
        piece, offset = piece[head:], offset + head
    # Most pages begin with a byte that is not zero: only the others are compared.
    if 0 not in bytes(piece[::_PAGE]):
        _pwrite(fd, piece, offset)
        return
    start = 0
    for at in range(0, len(piece), _PAGE):
        if piece[at] == 0 and piece[at : at + _PAGE] == _ZERO_PAGE:
            _pwrite(fd, piece[start:at], offset + start)
            start = at + _PAGE
    _pwrite(fd, piece[start:], offset + start)


def _pwrite(fd: int, piece: memoryview, offset: int) -> None:
    while piece:
        count = os.pwrite(fd, piece, offset)
        piece, offset = piece[count:], offset + count


def _write(fd: int, piece: memoryview) -> None:
    while piece:
        count = os.write(fd, piece)
        if not count:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        piece = piece[count:]
