"""What images are made of, wherever they come from: a `Source` gives documents and blobs, each checked on its way.

A document (manifest, index, config) is small and is returned whole; a blob comes in pieces, and the last piece is held
back until size and digest are known to be right: who uses what comes out has seen the end of the right bytes, or an
error.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from lamina.errors import InvalidInput, NotFound
from lamina.oci.descriptor import Descriptor
from lamina.oci.digest import algorithm_of, check_digest
from lamina.oci.document import MAX_DOCUMENT
from lamina.oci.reference import Reference
from lamina.transfer.section import Section


class Blob(Protocol):
    """Bytes that can be had, from the first on, as often as asked for. They are not verified yet."""

    def pieces(self) -> Iterator[bytes]: ...


class Source(Protocol):
    """A place that images come from."""

    def document(self, descriptor: Descriptor) -> bytes:
        """Return a manifest, index or config, of the right size and digest."""

    def blob(self, descriptor: Descriptor) -> Blob:
        """Return a blob; a `Section` where it lies in a file of this machine."""

    def stop(self) -> None:
        """End what other threads are reading, which then fails; nothing more is wanted."""


class Sink(Protocol):
    """A place that images go to. What is put into it must come in order: blobs, manifests that name them, indexes."""

    def has(self, descriptor: Descriptor) -> bool:
        """Tell whether the blob is there and need not be sent."""

    def put_blob(self, descriptor: Descriptor, blob: Blob) -> None:
        """Write a blob, checked on its way; two threads may do so at once."""

    def put_manifest(self, descriptor: Descriptor, data: bytes, names: Sequence[Reference] | None) -> None:
        """Write a manifest or index; `names` are None for one that another one holds."""


@dataclass(frozen=True, slots=True)
class Bytes:
    """A blob that is in memory."""

    data: bytes

    def pieces(self) -> Iterator[bytes]:
        """Yield the bytes."""
        yield self.data


@dataclass(frozen=True, slots=True)
class Found:
    """An image in a source: its manifest, or an index of several, and what it is called there."""

    descriptor: Descriptor
    names: tuple[Reference, ...] = ()


def verified(blob: Blob, descriptor: Descriptor) -> Iterator[bytes]:
    """Yield the bytes of `blob`; InvalidInput, before the last of them, where they are not what is described."""
    digest = hashlib.new(algorithm_of(descriptor.digest))
    size = 0
    held = b""
    for piece in blob.pieces():
        if held:
            yield held
        held = piece
        size += len(piece)
        if size > descriptor.size:
            raise _wrong(descriptor, f"it is longer than the {descriptor.size} bytes that it should have")
        digest.update(piece)
    if size < descriptor.size:
        raise _wrong(descriptor, f"it has {size} of {descriptor.size} bytes")
    found = f"{algorithm_of(descriptor.digest)}:{digest.hexdigest()}"
    if found != descriptor.digest:
        raise _wrong(descriptor, f"its content is {found}")
    if held:
        yield held


def document_of(section: Section | None, descriptor: Descriptor, what: str) -> bytes:
    """Return the document that lies in `section`; NotFound where that is None, InvalidInput where it is another."""
    if section is None:
        raise NotFound("read", what, f"it has no blob {descriptor.digest}")
    data = section.read(MAX_DOCUMENT, what)
    check_document(data, descriptor, what)
    return data


def check_document(data: bytes, descriptor: Descriptor, what: str) -> None:
    """Refuse `data` unless it has the described size and digest (InvalidInput naming `what`)."""
    if len(data) != descriptor.size:
        raise InvalidInput("use", what, f"it has {len(data)} bytes, not {descriptor.size}")
    check_digest(data, descriptor.digest, what)


def _wrong(descriptor: Descriptor, reason: str) -> InvalidInput:
    return InvalidInput("use the blob", descriptor.digest, reason)
