"""The members of a tar archive by name, each as a section of the file: for archives that hold images.

The archive's content is not read, only its headers. Layers inside are read by `lamina.layer`, which is another matter:
here a name leads to bytes and nothing is made of it.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass

from lamina.errors import InvalidInput
from lamina.tar import header as tarheader
from lamina.tar import pax
from lamina.tar.header import BLOCK, BadHeader, padding
from lamina.transfer.section import Section

_FILES = (b"0", b"\0", b"7")
_HARDLINK, _SYMLINK = b"1", b"2"
_MAX_EXTENDED = 1 << 20
_MAX_MEMBERS = 1 << 18
_MAX_LINKS = 40


@dataclass(frozen=True, slots=True)
class _Header:
    name: bytes
    kind: bytes
    link: bytes
    offset: int
    size: int


def list_members(path: str) -> dict[str, Section]:
    """Return where the regular files of the archive `path` lie in it; links are as the file that they lead to.

    Names have neither a leading `./` nor `..`. InvalidInput where it is no tar archive, or a truncated one.
    """
    files: dict[str, Section] = {}
    links: dict[str, str] = {}
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        for header in _headers(fd, path):
            name = _plain(os.fsdecode(header.name))
            target = os.fsdecode(header.link)
            files.pop(name, None)
            links.pop(name, None)
            if header.kind in _FILES:
                files[name] = Section(path, header.offset, header.size)
            elif header.kind == _HARDLINK:
                links[name] = _plain(target)
            elif header.kind == _SYMLINK:
                links[name] = _plain(posixpath.join(posixpath.dirname(name), target))
    finally:
        os.close(fd)
    for name in links:
        found = _follow(name, links, files)
        if found is not None:
            files[name] = found
    return files


def _plain(name: str) -> str:
    # Anchored at the top, so that no number of `..` leads anywhere else.
    return posixpath.normpath("/" + name).lstrip("/")


def _follow(name: str, links: dict[str, str], files: dict[str, Section]) -> Section | None:
    for _ in range(_MAX_LINKS):
        if name not in links:
            return files.get(name)
        name = links[name]
    return None


def _headers(fd: int, path: str) -> Iterator[_Header]:
    try:
        yield from _read_headers(fd)
    except BadHeader as error:
        raise InvalidInput("read", "the archive", error) from error


def _read_headers(fd: int) -> Iterator[_Header]:
    size = os.fstat(fd).st_size
    offset = count = 0
    records: pax.Records = {}
    name = link = None
    while (block := _block(fd, offset)) is not None:
        fields = tarheader.split(block)
        kind, length = fields[7], tarheader.number(fields[4])
        offset += BLOCK
        if kind in (tarheader.GNU_LONGNAME, tarheader.GNU_LONGLINK, *tarheader.PAX_NEXT):
            data = _extended(fd, offset, length)
            if kind == tarheader.GNU_LONGNAME:
                name = tarheader.text(data)
            elif kind == tarheader.GNU_LONGLINK:
                link = tarheader.text(data)
            else:
                records |= pax.parse(data)
        elif kind != tarheader.PAX_GLOBAL:
            count += 1
            if count > _MAX_MEMBERS:
                raise BadHeader(f"it has more than {_MAX_MEMBERS} members")
            length = pax.integer(records[b"size"]) if records.get(b"size") else length
            yield _Header(
                records.get(b"path") or name or _name(fields),
                kind,
                records.get(b"linkpath") or link or tarheader.text(fields[8]),
                offset,
                length,
            )
            records, name, link = {}, None, None
            length = length if kind in (*_FILES, tarheader.GNU_SPARSE) else 0
        if length < 0 or offset + length > size:
            raise BadHeader("it is truncated")
        offset += length + padding(length)


def _block(fd: int, offset: int) -> bytes | None:
    block = os.pread(fd, BLOCK, offset)
    if not block and not offset:
        raise BadHeader("it is empty")
    if not block or block == tarheader.ZEROS:
        return None
    if len(block) < BLOCK:
        raise BadHeader("it is truncated, or no tar archive")
    return block


def _extended(fd: int, offset: int, length: int) -> bytes:
    if not 0 <= length <= _MAX_EXTENDED:
        raise BadHeader(f"an extended header of {length} bytes is not believable")
    data = os.pread(fd, length, offset)
    if len(data) < length:
        raise BadHeader("it is truncated")
    return data


def _name(fields: tarheader.Fields) -> bytes:
    name = tarheader.text(fields[0])
    prefix = tarheader.text(fields[14]) if fields[9].startswith(b"ustar\0") else b""
    return prefix + b"/" + name if prefix else name
