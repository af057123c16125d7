"""The exact tar of a layer, made again from its directory and its framing."""

from __future__ import annotations

import os
from collections.abc import Iterator

from lamina.layer import deep
from lamina.layer.content import read_range
from lamina.layer.digest import Digester
from lamina.layer.encode import Encoder, encoder
from lamina.layer.framing import FramingReader


def assemble(layer: str, out: int) -> tuple[str, int]:
    """Write the tar of the layer in the directory `layer` to `out` and return its digest and size.

    The caller compares the digest with the layer's diff id before it uses what was written. StoreError where the
    framing is damaged, InvalidInput where the tree lost content.
    """
    with Digester() as digester:
        _write_tar(layer, _Output(out), digester)
        return digester.finish(), digester.size


def compress(layer: str, out: int, compression: str) -> tuple[str, str, int]:
    """Write the tar, compressed, to `out`; return its diff id, and digest and size of what was written."""
    with Digester() as digester, Digester() as written:
        output = _Encoded(out, encoder(compression), written)
        _write_tar(layer, output, digester)
        output.end()
        return digester.finish(), written.finish(), written.size


def tar_pieces(layer: str) -> Iterator[bytes]:
    """Yield the tar of the layer in the directory `layer`, in pieces of any size; raises as `assemble`."""
    path = os.path.join(layer, "framing")
    root = os.open(os.path.join(layer, "tree"), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with open(path, "rb") as file, deep.Files(root) as tree:
            yield from _pieces(FramingReader(file, path), tree)
    finally:
        os.close(root)


def _pieces(framing: FramingReader, tree: deep.Files) -> Iterator[bytes]:
    for number, record in enumerate(framing.records()):
        yield record.literal
        if not record.length:
            continue
        kept = framing.replaced(number)
        if kept is not None:
            yield from kept
            continue
        fd = tree.open(record.path)
        try:
            yield from read_range(fd, record.offset, record.length, record.path)
        finally:
            os.close(fd)


def _write_tar(layer: str, output: _Output, digester: Digester) -> None:
    writer = _Writer(output, digester)
    for piece in tar_pieces(layer):
        writer.write(piece)
    writer.flush()


class _Output:
    """A descriptor."""

    def __init__(self, out: int) -> None:
        self._out = out

    def write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._out, view) :]


class _Encoded(_Output):
    """A descriptor that gets everything compressed."""

    def __init__(self, out: int, encode: Encoder, digester: Digester) -> None:
        super().__init__(out)
        self._encode = encode
        self._digester = digester

    def write(self, data: bytes) -> None:
        self._emit(self._encode.compress(data))

    def end(self) -> None:
        self._emit(self._encode.flush())

    def _emit(self, data: bytes) -> None:
        if data:
            self._digester.update(data)
            super().write(data)


class _Writer:
    """Gathers small pieces, so that an archive of small files is not written header by header."""

    def __init__(self, output: _Output, digester: Digester) -> None:
        self._output = output
        self._digester = digester
        self._pending = bytearray()

    def write(self, data: bytes) -> None:
        if len(data) >= 1 << 18:
            self.flush()
            self._write(data)
            return
        self._pending += data
        if len(self._pending) >= 1 << 20:
            self.flush()

    def flush(self) -> None:
        if self._pending:
            self._write(bytes(self._pending))
            self._pending.clear()

    def _write(self, data: bytes) -> None:
        self._digester.update(data)
        self._output.write(data)
