"""Copying an image, or anything else that a manifest describes, from a source to a sink, unpacking nothing.

What a document refers to goes before it, blobs side by side; what the sink has already is not read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from threading import Lock

from lamina.errors import InvalidInput
from lamina.events import Event, OnEvent
from lamina.oci.descriptor import INDEX_TYPES, MANIFEST_TYPES, Descriptor
from lamina.oci.digest import short
from lamina.oci.index import parse_index
from lamina.oci.manifest import parse_any_manifest
from lamina.oci.reference import Reference
from lamina.transfer.content import Sink, Source
from lamina.transfer.take import MAX_NESTING

_STEP = 1 << 20  # bytes of progress that are worth an event


@dataclass(slots=True)
class Copier:
    """Copies from `source` to `sink`, `at_once` blobs side by side; `task` names the work in events."""

    source: Source
    sink: Sink
    task: str
    on_event: OnEvent
    at_once: int = 1
    _telling: Lock = field(default_factory=Lock)

    def copy(self, descriptor: Descriptor, names: Sequence[Reference]) -> None:
        """Copy the manifest or index with all that it refers to, and call it by `names`."""
        self._copy(descriptor, names, 0)

    def _copy(self, descriptor: Descriptor, names: Sequence[Reference] | None, depth: int) -> None:
        if depth > MAX_NESTING:
            raise InvalidInput("copy", descriptor.digest, f"indexes lie in it more than {MAX_NESTING} deep")
        data = self.source.document(descriptor)
        what = f"the manifest {descriptor.digest}"
        if descriptor.media_type in INDEX_TYPES:
            for child in parse_index(data, what).manifests:
                self._copy(child, None, depth + 1)
        elif descriptor.media_type in MANIFEST_TYPES:
            manifest = parse_any_manifest(data, what)
            self._blobs([*manifest.layers, manifest.config])
        else:
            raise InvalidInput("copy", descriptor.digest, f"{descriptor.media_type!r} is no manifest and no index")
        self.sink.put_manifest(descriptor, data, names)

    def _blobs(self, blobs: Sequence[Descriptor]) -> None:
        distinct = list({blob.digest: blob for blob in blobs}.values())
        if self.at_once == 1:
            for blob in distinct:
                self._blob(blob)
            return
        with ThreadPoolExecutor(self.at_once, "lamina-copy") as pool:
            futures = [pool.submit(self._blob, blob) for blob in distinct]
            try:
                done, _ = wait(futures, return_when=FIRST_EXCEPTION)
                for future in done:
                    future.result()
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def _blob(self, blob: Descriptor) -> None:
        if not self.sink.has(blob):
            self.sink.put_blob(blob, _Watched(self, blob))
        self.tell(blob, blob.size, finished=True)

    def tell(self, blob: Descriptor, done: int, *, finished: bool = False) -> None:
        """Report how much of a blob is done."""
        with self._telling:
            self.on_event(Event(self.task, short(blob.digest), done=done, total=blob.size, finished=finished))


@dataclass(frozen=True, slots=True)
class _Watched:
    """A blob of the source whose reading is reported."""

    copier: Copier
    descriptor: Descriptor

    def pieces(self) -> Iterator[bytes]:
        """Yield the bytes."""
        done = told = 0
        for piece in self.copier.source.blob(self.descriptor).pieces():
            yield piece
            done += len(piece)
            if done - told >= _STEP:
                told = done
                self.copier.tell(self.descriptor, done)
