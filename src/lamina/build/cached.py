"""The cache as one build sees it: what the store knows of earlier steps, and what caches from elsewhere have.

Of those, a layer is fetched when a step turns out to have made it, checked against its diff id, and from then on is one
of the store's. That something cannot be had from elsewhere is told, and the step is carried out.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lamina.build.cachefile import CACHE_CONFIG, CacheDocument, CachedStep, check_layers, parse_cache
from lamina.build.cachespec import CachePlace
from lamina.build.keys import Key
from lamina.build.pipes import stream_of
from lamina.errors import InvalidInput, LaminaError
from lamina.events import ignore
from lamina.ids.worker import Fd
from lamina.oci.descriptor import Descriptor
from lamina.oci.manifest import parse_any_manifest
from lamina.store import making
from lamina.store.steps import StepRecord, find_step, write_step

if TYPE_CHECKING:
    from lamina.ids.worker import Worker
    from lamina.store.staging import Staging
    from lamina.transfer.content import Source

#: Takes a line for people.
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """A cache that is not the store's, open."""

    place: CachePlace
    source: Source
    document: CacheDocument
    steps: Mapping[str, CachedStep]
    blobs: Mapping[str, Descriptor]

    def write_layer(self, diff_id: str, out: Fd) -> None:
        """Write the blob of a layer, checked, to a descriptor."""
        from lamina.transfer.content import verified

        descriptor = self.blobs[diff_id]
        with open(out, "wb", buffering=0, closefd=False) as file:
            for piece in verified(self.source.blob(descriptor), descriptor):
                view = memoryview(piece)
                while view:
                    view = view[file.write(view) :]


@contextmanager
def open_caches(places: Sequence[CachePlace], environ: Mapping[str, str], say: Say) -> Iterator[list[Elsewhere]]:
    """Yield those caches that can be used; of the others it is told why not."""
    with ExitStack() as stack:
        found = []
        for place in places:
            try:
                found.append(stack.enter_context(_open(place, environ, say)))
            except LaminaError as error:
                say(f"no cache from {place}: {error.reason}")
        yield found


@contextmanager
def _open(place: CachePlace, environ: Mapping[str, str], say: Say) -> Iterator[Elsewhere]:
    if place.reference is not None:
        from lamina.transfer.remote import open_for_pull

        with open_for_pull(environ, place.reference, lambda event: say(event.text)) as (repository, manifest):
            yield _read(place, repository, manifest)
        return
    from lamina.transfer.layout import LayoutSource, directory_files

    layout = LayoutSource(directory_files(place.directory), place.directory)
    yield _read(place, layout, layout.find(place.tag).descriptor)


def _read(place: CachePlace, source: Source, descriptor: Descriptor) -> Elsewhere:
    what = f"the cache {place}"
    manifest = parse_any_manifest(source.document(descriptor), what)
    if manifest.config.media_type != CACHE_CONFIG:
        raise InvalidInput("use", what, f"it is {manifest.config.media_type}, not a cache of lamina's builds")
    document = parse_cache(source.document(manifest.config), what)
    check_layers(document, manifest.layers, what)
    blobs = dict(zip(map(str, document.layers), manifest.layers, strict=True))
    return Elsewhere(place, source, document, {step.key: step for step in document.steps}, blobs)


@dataclass(frozen=True, slots=True)
class Taken:
    """A step of this build, from the cache or carried out."""

    record: StepRecord
    identities: tuple[str, ...]


class StepCache:
    """Finds and keeps what steps made. Its methods may be called by several threads."""

    def __init__(self, staging: Staging, worker: Worker, elsewhere: Sequence[Elsewhere]) -> None:
        self._staging = staging
        self._worker = worker
        self._elsewhere = elsewhere
        self._lock = threading.Lock()
        self._taken: dict[str, Taken] = {}
        self._mounts: set[str] = set()

    @property
    def taken(self) -> Mapping[str, Taken]:
        """The steps of this build by their keys."""
        return self._taken

    @property
    def mounts(self) -> frozenset[str]:
        """The names of the cache mounts that steps of this build have."""
        return frozenset(self._mounts)

    def find(
        self, key: Key, below: Callable[[], Sequence[str]], identities: Sequence[str], say: Say
    ) -> StepRecord | None:
        """Return what the step with this key made, its layer pinned; None if nobody knows.

        `below` returns the layers that it lies over, and is asked only where something comes from elsewhere.
        """
        record = find_step(self._staging, key.text) or self._fetched(key, below, identities, say)
        if record is not None:
            self.note(record, identities)
        return record

    def note(self, record: StepRecord, identities: Sequence[str]) -> None:
        """Note a step of this build, which the store has."""
        with self._lock:
            self._taken[record.key] = Taken(record, tuple(identities))

    def note_mounts(self, names: Sequence[str]) -> None:
        """Note the cache mounts of a step."""
        with self._lock:
            self._mounts.update(names)

    def _fetched(
        self, key: Key, below: Callable[[], Sequence[str]], identities: Sequence[str], say: Say
    ) -> StepRecord | None:
        for cache in self._elsewhere:
            step = cache.steps.get(key.text)
            if step is None:
                continue
            try:
                layer = self._layer(cache, step.layer, below()) if step.layer else ""
            except (LaminaError, OSError) as error:
                say(f"not from the cache {cache.place}: {error}")
                continue
            record = StepRecord(key.text, layer, step.created, key.texts())
            write_step(self._staging, record, identities)
            return record
        return None

    def _layer(self, cache: Elsewhere, diff_id: str, below: Sequence[str]) -> str:
        with stream_of(lambda out: cache.write_layer(diff_id, out)) as stream:
            return making.apply(self._staging, self._worker, stream, below, expected=diff_id, on_event=ignore).name
