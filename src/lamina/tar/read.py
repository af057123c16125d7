"""A tar archive as a sequence of entries, read once from front to back.

Knows the old, ustar, GNU and PAX formats, with GNU's sparse files in all four spellings. Every byte that is not content
taken by the caller is collected for the layer's framing (`framing`), so that the archive can be put together again.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from lamina.errors import InvalidInput
from lamina.tar import entry as kinds
from lamina.tar import header as tarheader
from lamina.tar import pax
from lamina.tar.entry import Entry
from lamina.tar.header import BLOCK, BadHeader, padding

#: Long names and extended headers are held in memory: what claims to be larger is refused.
MAX_EXTENDED = 1 << 22

_PLAIN = {b"0": kinds.FILE, b"\0": kinds.FILE, b"7": kinds.FILE, tarheader.GNU_SPARSE: kinds.FILE}
_OTHERS = {
    kinds.HARDLINK, kinds.SYMLINK, kinds.CHARDEV, kinds.BLOCKDEV, kinds.DIRECTORY, kinds.FIFO, tarheader.GNU_DUMPDIR,
}  # fmt: skip


class Bytes(Protocol):
    """What an archive is read from: pieces of any length, b"" at the end."""

    def read(self) -> bytes: ...


class TarReader:
    """The entries of the archive that `source` gives.

    After each entry its stored content is there to be taken with `read`; what is not taken counts as framing. `literal`
    holds the bytes read since the caller last emptied it that are not content: headers, padding, content skipped, the
    blocks at the end. Malformed archives raise InvalidInput with the entry's number.
    """

    def __init__(self, source: Bytes, literal: bytearray) -> None:
        self._source = source
        self._buffer = b""
        self._position = 0
        self._left = 0  # stored content of the current entry that nobody took yet
        self._padding = 0
        self._globals: pax.Records = {}
        self._number = 0
        self.literal = literal

    def __iter__(self) -> Iterator[Entry]:
        try:
            while (found := self._next()) is not None:
                yield found
        except BadHeader as error:
            raise self._bad(str(error)) from error

    def read(self, most: int) -> memoryview:
        """Return between 1 and `most` bytes of the current entry's stored content, of which that many are left."""
        piece = self._piece(most)
        self._left -= len(piece)
        return piece

    def skip(self, most: int = 0) -> None:
        """Put the rest of the current entry's content, or `most` bytes of it, into `literal`."""
        count = min(self._left, most or self._left)
        while count:
            piece = self._piece(count)
            self._left -= len(piece)
            count -= len(piece)
            self.literal += piece

    def drain(self) -> Iterator[None]:
        """Read what follows the archive up to the end of the source into `literal`, yielding after each piece."""
        while True:
            self.literal += self._buffer[self._position :]
            self._position = 0
            self._buffer = self._source.read()
            if not self._buffer:
                return
            yield

    def pending(self) -> int:
        """Return how many bytes of the current entry's content nobody took yet."""
        return self._left

    # Headers

    def _next(self) -> Entry | None:
        """Return the next entry with all that extended headers say about it, None at the archive's end."""
        if self._left:
            self.skip()
        records: pax.Records | None = None
        name = link = None
        while (block := self._block()) is not None:
            fields = tarheader.split(block)
            kind = fields[7]
            if kind == tarheader.GNU_LONGNAME:
                name = tarheader.text(self._extended(fields))
            elif kind == tarheader.GNU_LONGLINK:
                link = tarheader.text(self._extended(fields))
            elif kind in tarheader.PAX_NEXT:
                records = {**(records or {}), **pax.parse(self._extended(fields))}
            elif kind == tarheader.PAX_GLOBAL:
                self._globals.update(pax.parse(self._extended(fields)))
            elif kind == tarheader.GNU_VOLUME:
                continue
            else:
                return self._entry(block, fields, records, name, link)
        if records or name or link:
            raise BadHeader("the archive ends after an extended header")
        return None

    def _block(self) -> bytes | None:
        """Return the next header, None at the end: a block of zeros, or no more bytes."""
        position = self._position + self._padding
        if position + BLOCK <= len(self._buffer):  # all but a few headers: no function calls
            block = self._buffer[position : position + BLOCK]
            self.literal += self._buffer[self._position : position + BLOCK]
            self._position = position + BLOCK
            self._padding = 0
            return block if block[0] or block != tarheader.ZEROS else None
        self._skip_padding()
        if self._position == len(self._buffer):
            self._buffer, self._position = self._source.read(), 0
            if not self._buffer:
                if not self._number and not self.literal:
                    raise self._bad("it is empty")
                return None
        block = self._take(BLOCK)
        self.literal += block
        return None if block == tarheader.ZEROS else block

    def _skip_padding(self) -> None:
        """Take what fills up the last content; an archive may end there, as those of `umoci insert` do."""
        while self._padding:
            if self._position == len(self._buffer):
                self._buffer, self._position = self._source.read(), 0
                if not self._buffer:
                    self._padding = 0
            piece = self._buffer[self._position : self._position + self._padding]
            self.literal += piece
            self._position += len(piece)
            self._padding -= len(piece)

    def _extended(self, fields: tarheader.Fields) -> bytes:
        size = tarheader.number(fields[4])
        if not 0 <= size <= MAX_EXTENDED:
            raise BadHeader(f"an extended header of {size} bytes is not believable")
        data = self._take(size)
        self.literal += data
        self._padding = padding(size)
        return data

    def _entry(
        self,
        block: bytes,
        fields: tarheader.Fields,
        records: pax.Records | None,
        name: bytes | None,
        link: bytes | None,
    ) -> Entry:
        self._number += 1
        kind = fields[7]
        if name is None:
            name = tarheader.text(fields[0])
            if fields[14][0] and fields[9].startswith(b"ustar\0"):
                name = tarheader.text(fields[14]) + b"/" + name
        entry = Entry(name, _PLAIN.get(kind, kind if kind in _OTHERS else kinds.FILE))
        entry.number = self._number
        entry.mode = tarheader.number(fields[1]) & 0o7777
        entry.uid = tarheader.number(fields[2])
        entry.gid = tarheader.number(fields[3])
        entry.size = size = tarheader.number(fields[4])
        entry.mtime = tarheader.time(fields[5])
        entry.link = tarheader.text(fields[8]) if link is None else link
        if kind in (kinds.CHARDEV, kinds.BLOCKDEV):
            entry.major = tarheader.number(fields[12])
            entry.minor = tarheader.number(fields[13])
        if records or self._globals:
            size = _apply(entry, {**self._globals, **(records or {})})
        elif kind == kinds.FILE and size >= 0 and not name.endswith(b"/"):
            self._left, self._padding = size, padding(size)
            return entry
        self._set_content(entry, size, block if kind == tarheader.GNU_SPARSE else None, records or {})
        return entry

    def _set_content(self, entry: Entry, size: int, sparse: bytes | None, records: pax.Records) -> None:
        if size < 0 or entry.size < 0:
            raise BadHeader("the size is negative")
        # In the old format a directory may be a file whose name ends in a slash; GNU tar keeps that in later ones.
        if entry.kind == kinds.FILE and entry.name.endswith(b"/"):
            entry.kind = kinds.DIRECTORY
        elif entry.kind == tarheader.GNU_DUMPDIR:
            entry.kind = kinds.DIRECTORY
            self._left, self._padding = size, padding(size)
        elif entry.kind != kinds.FILE:
            size = 0  # links and special files have none, whatever the field says
        if entry.kind != kinds.FILE:
            entry.size = 0
        self._left, self._padding = size, padding(size)
        if entry.kind != kinds.FILE:
            return
        if sparse is not None:
            entry.extents = self._old_sparse(sparse)
            entry.size = tarheader.number(sparse[483:495])
        elif records.get(b"GNU.sparse.major") == b"1" and records.get(b"GNU.sparse.minor") == b"0":
            entry.extents = self._map_in_content()
        elif b"GNU.sparse.map" in records:
            entry.extents = pax.sparse_map(records[b"GNU.sparse.map"])
        if entry.extents is not None:
            _check_extents(entry, self._left)

    # Sparse files

    def _old_sparse(self, block: bytes) -> list[tuple[int, int]]:
        extents = tarheader.sparse_map(block, 386, 4)
        more = block[482]
        while more:
            if len(extents) > pax.MAX_EXTENTS:
                raise BadHeader("the sparse map is too long")
            block = self._take(BLOCK)
            self.literal += block
            extents += tarheader.sparse_map(block, 0, 21)
            more = block[504]
        return extents

    def _map_in_content(self) -> list[tuple[int, int]]:
        """Read the map that GNU's sparse format 1.0 puts before the data: decimal lines, filled up to a block."""
        text = b""
        lines: list[bytes] = []
        wanted = 1
        while len(lines) < wanted:
            if self._left < BLOCK:
                raise BadHeader("the sparse map is truncated")
            block = self._take(BLOCK)
            self._left -= BLOCK
            self.literal += block
            *whole, text = (text + block).split(b"\n")
            lines += whole
            if len(text) > BLOCK or len(lines) > 2 * pax.MAX_EXTENTS + 1:
                raise BadHeader("the sparse map is malformed")
            if lines:
                wanted = 1 + 2 * pax.integer(lines[0])
        numbers = [pax.integer(line) for line in lines[1:wanted]]
        return list(zip(numbers[::2], numbers[1::2], strict=True))

    # Bytes

    def _take(self, count: int) -> bytes:
        """Return exactly `count` bytes."""
        position = self._position
        end = position + count
        if end <= len(self._buffer):
            self._position = end
            return self._buffer[position:end]
        parts = [self._buffer[position:]]
        missing = count - len(parts[0])
        while missing:
            self._buffer = self._source.read()
            if not self._buffer:
                raise self._bad("the archive is truncated")
            self._position = min(missing, len(self._buffer))
            parts.append(self._buffer[: self._position])
            missing -= self._position
        return b"".join(parts)

    def _piece(self, most: int) -> memoryview:
        """Return between 1 and `most` bytes without copying them."""
        if self._position == len(self._buffer):
            self._buffer, self._position = self._source.read(), 0
            if not self._buffer:
                raise self._bad("the archive is truncated")
        start = self._position
        self._position = min(start + most, len(self._buffer))
        return memoryview(self._buffer)[start : self._position]

    def _bad(self, reason: str) -> InvalidInput:
        where = f"{reason} (entry {self._number + 1})" if self._number else reason
        return InvalidInput("read", "the tar archive", where)


def _apply(entry: Entry, records: pax.Records) -> int:
    """Put what PAX records say into `entry` and return how much content the archive holds for it."""
    size = entry.size
    for key, value in records.items():
        if key.startswith(pax.XATTR):
            entry.xattrs[pax.xattr_name(key)] = value
        elif not value:  # an empty value takes a global record back
            continue
        elif key == b"path":
            entry.name = value
        elif key == b"linkpath":
            entry.link = value
        elif key == b"mtime":
            entry.mtime = pax.time(value)
        elif key == b"uid":
            entry.uid = pax.integer(value)
        elif key == b"gid":
            entry.gid = pax.integer(value)
        elif key == b"size":
            size = pax.integer(value)
    if entry.kind == kinds.FILE:
        entry.size = size
        real = records.get(b"GNU.sparse.realsize") or records.get(b"GNU.sparse.size")
        if real and (b"GNU.sparse.map" in records or b"GNU.sparse.major" in records):
            entry.size = pax.integer(real)
        entry.name = records.get(b"GNU.sparse.name") or entry.name
    return size


def _check_extents(entry: Entry, stored: int) -> None:
    end = 0
    total = 0
    for offset, length in entry.extents or ():
        if offset < end or length < 0:
            raise BadHeader("the sparse map goes backwards")
        end = offset + length
        total += length
    if end > entry.size or total != stored:
        raise BadHeader("the sparse map does not fit the file's size")
