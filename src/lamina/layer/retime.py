"""A layer's tar with no time later than a given one: what SOURCE_DATE_EPOCH makes of files that were written after it.

Everything else of an entry stays. Headers are written in our own form, as those of a layer that we make are.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from lamina.layer.assemble import tar_pieces
from lamina.tar import entry as kinds
from lamina.tar import write as tarwrite
from lamina.tar.entry import Entry
from lamina.tar.header import padding
from lamina.tar.read import TarReader

_PIECE = 1 << 18


def is_later(layer: str, latest: int) -> bool:
    """Tell whether something in the layer in the directory `layer` has a time after `latest`, in nanoseconds."""
    return any(entry.mtime > latest for entry in LayerReader(layer).entries())


def write_retimed(layer: str, latest: int, out: int) -> None:
    """Write the tar of the layer in the directory `layer` to `out`, with no time in it after `latest`."""
    reader = LayerReader(layer)
    writer = _Writer(out)
    for entry in reader.entries():
        entry.mtime = min(entry.mtime, latest)
        writer.put(tarwrite.header(entry))
        if entry.kind == kinds.FILE:
            for piece in reader.content(entry):
                writer.put(piece)
            writer.put(bytes(padding(entry.size)))
    writer.put(tarwrite.END)
    writer.flush()


class LayerReader:
    """The entries of a layer's tar, read from its directory, and the content of the current one."""

    def __init__(self, layer: str) -> None:
        self._literal = bytearray()
        self._reader = TarReader(_Pieces(tar_pieces(layer)), self._literal)

    def entries(self) -> Iterator[Entry]:
        """Yield the entries in order."""
        for entry in self._reader:
            self._literal.clear()
            yield entry

    def content(self, entry: Entry) -> Iterator[bytes]:
        """Yield the content of the entry that was yielded last, a regular file, its holes as zeros."""
        position = 0
        for offset, length in ((0, entry.size),) if entry.extents is None else entry.extents:
            yield from _zeros(offset - position)
            left = length
            while left:
                piece = bytes(self._reader.read(min(left, _PIECE)))
                left -= len(piece)
                yield piece
            position = offset + length
        yield from _zeros(entry.size - position)


class _Pieces:
    """What a TarReader reads from."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces

    def read(self) -> bytes:
        """Return the next piece that is not empty, b"" at the end."""
        return next((piece for piece in self._pieces if piece), b"")


class _Writer:
    """Gathers small pieces for a descriptor."""

    def __init__(self, out: int) -> None:
        self._out = out
        self._pending = bytearray()

    def put(self, data: bytes) -> None:
        self._pending += data
        if len(self._pending) >= _PIECE:
            self.flush()

    def flush(self) -> None:
        view = memoryview(bytes(self._pending))
        self._pending.clear()
        while view:
            view = view[os.write(self._out, view) :]


def _zeros(count: int) -> Iterator[bytes]:
    while count > 0:
        yield bytes(min(count, _PIECE))
        count -= _PIECE
