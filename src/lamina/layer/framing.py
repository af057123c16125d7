"""Framing: all of a layer's tar that its directory does not hold, so that the very same tar can be made again.

A record is a stretch of literal bytes (headers, padding, the blocks at the end) and then, mostly, a stretch of the
content of a file in the tree. The content of files that a later entry of the same archive replaced is kept after the
records. docs/formats/framing.md describes the file.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from lamina.errors import StoreError
from lamina.tar.zstd import CompressionParameter, ZstdCompressor, ZstdDecompressor, ZstdError

_MAGIC = b"lamina framing 1\n"
_TITLE = b"lamina framing "
_RECORD = struct.Struct("<IIQQ")  # length of the literal and of the path, offset and length of the content
_TAIL = struct.Struct("<Q")  # length of the footer
_PIECE = 1 << 20
_MAX_PATH = 1 << 20


@dataclass(frozen=True, slots=True)
class Record:
    """Literal bytes, then `length` bytes at `offset` of the file `path` of the tree (none where `length` is 0)."""

    literal: bytes
    path: bytes
    offset: int
    length: int


class FramingWriter:
    """Writes records one by one; `file` is open for writing and reading, and stays the caller's."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._compressor = _compressor()
        self._pending = bytearray()
        self._replaced: dict[str, tuple[int, int]] = {}
        self._start = len(_MAGIC)
        self._end = 0
        #: How many records were written: the number of the next one.
        self.count = 0
        file.write(_MAGIC)

    def add(self, literal: bytes | bytearray, path: bytes = b"", offset: int = 0, length: int = 0) -> None:
        """Add a record."""
        self._pending += _RECORD.pack(len(literal), len(path), offset, length)
        self._pending += literal
        self._pending += path
        self.count += 1
        if len(self._pending) >= _PIECE:
            self._file.write(self._compressor.compress(bytes(self._pending)))
            self._pending.clear()

    def end_records(self) -> None:
        """Write what is pending; from here on only `keep` and `finish` may be called."""
        self._file.write(self._compressor.compress(bytes(self._pending)))
        self._file.write(self._compressor.flush())
        self._pending.clear()
        self._end = self._file.tell()
        self._file.flush()

    def records(self) -> Iterator[Record]:
        """Yield what was written, after `end_records`."""
        return _records(self._file.fileno(), self._start, self._end, "just written")

    def keep(self, record: int, fd: int, offset: int, length: int) -> None:
        """Keep the content of record number `record`, which is that range of the file `fd`."""
        start = self._file.tell()
        compressor = _compressor()
        while length:
            data = os.pread(fd, min(length, _PIECE), offset)
            if not data:
                raise StoreError("keep", f"the content of record {record}", "the file became shorter")
            self._file.write(compressor.compress(data))
            offset += len(data)
            length -= len(data)
        self._file.write(compressor.flush())
        self._replaced[str(record)] = (start, self._file.tell())

    def finish(self) -> None:
        """Write the footer."""
        footer = json.dumps({"records": (self._start, self._end), "replaced": self._replaced}).encode()
        self._file.write(footer + _TAIL.pack(len(footer)))
        self._file.flush()


class FramingReader:
    """Reads what a FramingWriter wrote; `file` is open for reading, seekable, and stays the caller's.

    Raises StoreError naming `subject` where the file is damaged or of a newer version.
    """

    def __init__(self, file: BinaryIO, subject: str) -> None:
        self._file = file
        self._subject = subject
        head = file.read(len(_MAGIC))
        if head != _MAGIC:
            newer = head.startswith(_TITLE)
            raise self._damaged("it was written by a newer lamina" if newer else "it is not a framing file")
        try:
            size = file.seek(-_TAIL.size, os.SEEK_END)
            (length,) = _TAIL.unpack(file.read(_TAIL.size))
            file.seek(size - length)
            footer = json.loads(file.read(length))
            self._records = (int(footer["records"][0]), int(footer["records"][1]))
            self._replaced = {int(key): (int(a), int(b)) for key, (a, b) in footer["replaced"].items()}
        except (OSError, ValueError, KeyError, TypeError, struct.error) as error:
            raise self._damaged("its footer is damaged") from error

    def records(self) -> Iterator[Record]:
        """Yield the records in order."""
        yield from _records(self._file.fileno(), *self._records, self._subject)

    def replaced(self, record: int) -> Iterator[bytes] | None:
        """Return the content of record number `record` in pieces, None where the tree has it."""
        frame = self._replaced.get(record)
        return None if frame is None else _decompress(self._file.fileno(), *frame, self._subject)

    def _damaged(self, reason: str) -> StoreError:
        return _damaged(self._subject, reason)


def _records(fd: int, start: int, end: int, subject: str) -> Iterator[Record]:
    buffer = bytearray()
    pieces = _decompress(fd, start, end, subject)
    while _more(buffer, _RECORD.size, pieces):
        literal, path, offset, length = _RECORD.unpack_from(buffer)
        size = _RECORD.size + literal + path
        if path > _MAX_PATH or not _more(buffer, size, pieces):
            raise _damaged(subject, "a record is damaged")
        middle = _RECORD.size + literal
        yield Record(bytes(buffer[_RECORD.size : middle]), bytes(buffer[middle:size]), offset, length)
        del buffer[:size]
    if buffer:
        raise _damaged(subject, "a record is damaged")


def _decompress(fd: int, start: int, end: int, subject: str) -> Iterator[bytes]:
    codec = ZstdDecompressor()
    position = start
    try:
        while not codec.eof:
            data = b""
            if codec.needs_input:
                data = os.pread(fd, min(_PIECE, end - position), position)
                if not data:
                    raise _damaged(subject, "it is truncated")
                position += len(data)
            piece = codec.decompress(data, _PIECE)
            if piece:
                yield piece
    except ZstdError as error:
        raise _damaged(subject, str(error)) from error


def _damaged(subject: str, reason: str) -> StoreError:
    return StoreError("read the framing", subject, reason)


def _more(buffer: bytearray, wanted: int, pieces: Iterator[bytes]) -> bool:
    while len(buffer) < wanted:
        piece = next(pieces, None)
        if piece is None:
            return False
        buffer += piece
    return True


def _compressor() -> ZstdCompressor:
    return ZstdCompressor(options={CompressionParameter.compression_level: 1, CompressionParameter.checksum_flag: 1})
