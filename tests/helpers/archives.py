"""Tar archives made by hand, also such as no archiver makes."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Any

from lamina.tar import entry as kinds
from lamina.tar import write as tarwrite
from lamina.tar.entry import Entry
from lamina.tar.header import BLOCK, padding


def item(name: bytes, kind: bytes = kinds.FILE, content: bytes = b"", **fields: Any) -> bytes:
    """Return one entry with its content; `fields` are those of Entry."""
    entry = Entry(name, kind)
    entry.mode = 0o755 if kind == kinds.DIRECTORY else 0o644
    entry.size = len(content)
    for key, value in fields.items():
        setattr(entry, key, value)
    return tarwrite.header(entry) + content + bytes(padding(len(content)))


def directory(name: bytes, **fields: Any) -> bytes:
    """Return a directory entry."""
    return item(name, kinds.DIRECTORY, **fields)


def symlink(name: bytes, target: bytes) -> bytes:
    """Return a symbolic link."""
    return item(name, kinds.SYMLINK, link=target)


def hardlink(name: bytes, target: bytes) -> bytes:
    """Return a hard link."""
    return item(name, kinds.HARDLINK, link=target)


def archive(path: Path, *items: bytes, end: bytes = tarwrite.END) -> Path:
    """Write an archive of these entries."""
    path.write_bytes(b"".join(items) + end)
    return path


def listing(path: Path) -> list[str]:
    """Return the names in an archive, read by another program than ours."""
    with tarfile.open(path) as tar:
        return tar.getnames()


class Pieces:
    """An archive that comes in pieces of one size."""

    def __init__(self, data: bytes, size: int) -> None:
        self._data = data
        self._size = size

    def read(self) -> bytes:
        """Return the next piece."""
        piece, self._data = self._data[: self._size], self._data[self._size :]
        return piece


def mended(data: bytes) -> bytes:
    """Return a damaged archive with right sums in all that looks like a header, so that the fields are looked at."""
    blocks = [data[start : start + BLOCK] for start in range(0, len(data), BLOCK)]
    return b"".join(
        block[:148] + b"%06o\0 " % (sum(block[:148]) + 256 + sum(block[156:])) + block[156:]
        if len(block) == BLOCK and block[257:262] == b"ustar"
        else block
        for block in blocks
    )
