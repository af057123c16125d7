"""Looking at all that a store has: every digest, link and reference, and mending what can be mended.

What is damaged and can be had again, a blob or a layer of an image that was pulled or loaded, is taken away by a
repair: the image then says what is missing, and pulling or loading it again brings that alone. Records, references and
the index are made anew from what they repeat.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from lamina.errors import LaminaError
from lamina.events import Event, OnEvent
from lamina.ids.worker import Fd
from lamina.oci.index import make_index
from lamina.oci.reference import Reference
from lamina.store import making
from lamina.store.blobs import blob_thing, has_blob
from lamina.store.bundles import encode_bundle, read_bundle, things_of_bundle
from lamina.store.collect import empty_trash, new_trash
from lamina.store.containers import read_container
from lamina.store.files import list_directory, read_if_present
from lamina.store.images import ImageRecord, encode_image, image_thing, read_image
from lamina.store.index import index_descriptors, rewrite_index
from lamina.store.layers import read_compressed
from lamina.store.layout import Layout
from lamina.store.publish import documents_of, image_record
from lamina.store.references import damaged_references, list_references, reference_thing, remove_reference
from lamina.store.remake import remake_bundle, remake_image
from lamina.store.staging import Staging

if TYPE_CHECKING:
    from lamina.ids.worker import Worker

_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is not as it should be: the thing below the store's root, and why. `mended`: it is now."""

    thing: str
    reason: str
    mended: bool = False


def check_store(layout: Layout, worker: Worker, *, repair: bool, on_event: OnEvent) -> list[Problem]:
    """Verify everything and return what is wrong; with `repair`, mend what can be mended."""
    with Staging(layout) as staging:
        checking = _Checking(staging, worker, on_event, repair=repair)
        looks = (
            checking.blobs,
            checking.layers,
            checking.images,
            checking.bundles,
            checking.names,
            checking.containers,
        )
        return [problem for look in looks for problem in look()]


class _Checking:
    """One look at a store."""

    def __init__(self, staging: Staging, worker: Worker, on_event: OnEvent, *, repair: bool) -> None:
        self._staging = staging
        self._layout = staging.layout
        self._worker = worker
        self._on_event = on_event
        self._repair = repair
        self._unreadable = False  # whether there is a record that says nothing

    def blobs(self) -> Iterator[Problem]:
        """Hash every blob."""
        for algorithm in list_directory(self._layout.path("blobs")):
            for name in list_directory(self._layout.path("blobs", algorithm)):
                digest = f"{algorithm}:{name}"
                self._on_event(Event("check", digest))
                found = _hash(self._layout.path(blob_thing(digest)), algorithm)
                if found not in (name, ""):
                    yield self._problem(blob_thing(digest), f"its content is {algorithm}:{found}", self._take_away)

    def layers(self) -> Iterator[Problem]:
        """Make every layer's tar again, which reads all of its files."""
        null = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        try:
            for name in list_directory(self._layout.path("layers")):
                self._on_event(Event("check", name))
                try:
                    making.write_tar(self._layout, self._worker, name, Fd(null))
                except (LaminaError, OSError) as error:
                    if os.path.exists(self._layout.path("layers", name)):  # else it was removed meanwhile
                        yield self._problem(f"layers/{name}", _reason(error), self._take_away)
                        continue
                try:
                    read_compressed(self._layout, name, None)
                except LaminaError as error:  # it can be lost at no cost
                    yield self._problem(f"layers/{name}/compressed", _reason(error), self._take_away)
        finally:
            os.close(null)

    def images(self) -> Iterator[Problem]:
        """Compare every record with the documents that it repeats, and look for what it needs."""
        for image in self._records():
            if isinstance(image, Problem):
                yield image
                continue
            thing = image_thing(image.manifest)
            for name in image.layers:
                if not os.path.exists(self._layout.path("layers", name)):
                    yield Problem(thing, f"its layer {name} is missing: pull or load the image again")
            for digest in image.blobs:
                if not has_blob(self._layout, digest):
                    yield Problem(thing, f"its blob {digest} is missing: pull or load the image again")
            try:
                manifest, config = documents_of(self._layout, image.manifest, image.layers)
                right = encode_image(image_record(manifest, config, image.layers))
            except LaminaError as error:
                yield Problem(thing, f"{_reason(error)}: pull or load the image again")
                continue
            if read_if_present(self._layout.path(thing)) not in (right, None):
                yield self._problem(thing, "it is not what the image's config says", self._rewriter(right))

    def bundles(self) -> Iterator[Problem]:
        """Compare every record of an index or artifact with its document, and look for what it needs."""
        for name in list_directory(self._layout.path("bundles")):
            thing = f"bundles/{name}"
            try:
                bundle = remake_bundle(self._layout, f"sha256:{name}")
            except LaminaError as error:
                yield Problem(thing, f"{_reason(error)}: pull or copy it again")
                continue
            if read_if_present(self._layout.path(thing)) not in (encode_bundle(bundle), None):
                yield self._problem(thing, "it is not what its document says", self._rewriter(encode_bundle(bundle)))
            for need in things_of_bundle(bundle):
                if not os.path.exists(self._layout.path(need)):
                    yield Problem(thing, f"its {need} is missing: pull or copy it again")

    def names(self) -> Iterator[Problem]:
        """Follow every reference, and compare the index with them."""
        damaged = damaged_references(self._layout)
        yield from (self._problem(thing, reason, self._take_away) for thing, reason in damaged)
        if (damaged or self._unreadable) and not self._repair:
            return  # what they would lead to cannot be told
        for reference, digest in list_references(self._layout):
            if read_image(self._layout, digest) is None and read_bundle(self._layout, digest) is None:
                thing = reference_thing(reference)
                yield self._problem(thing, f"there is no image {digest}", partial(self._forget, reference))
        with self._layout.indexing():
            right = make_index(index_descriptors(self._layout)).raw
            same = read_if_present(self._layout.path("index.json")) == right
        if not same:
            yield self._problem("index.json", "it does not show the references", self._reindex)

    def containers(self) -> Iterator[Problem]:
        """Look for the layers of every container."""
        for identity in list_directory(self._layout.path("containers")):
            thing = f"containers/{identity}"
            try:
                container = read_container(self._layout, identity)
            except LaminaError as error:
                yield Problem(thing, _reason(error))
                continue
            for name in container.layers if container else ():
                if not os.path.exists(self._layout.path("layers", name)):
                    yield Problem(thing, f"its layer {name} is missing")

    def _records(self) -> Iterator[ImageRecord | Problem]:
        for name in list_directory(self._layout.path("images")):
            digest = f"sha256:{name}"
            try:
                image = read_image(self._layout, digest)
            except LaminaError as error:
                self._unreadable = True
                try:
                    right = encode_image(remake_image(self._layout, digest))
                except LaminaError as other:
                    yield Problem(f"images/{name}", f"{_reason(error)}; {_reason(other)}: pull or load the image again")
                else:
                    yield self._problem(f"images/{name}", _reason(error), self._rewriter(right))
                continue
            if image is not None:
                yield image

    # Mending

    def _problem(self, thing: str, reason: str, mend: Callable[[str], None]) -> Problem:
        if self._repair:
            mend(thing)
        return Problem(thing, reason, mended=self._repair)

    def _take_away(self, thing: str) -> None:
        trash = new_trash(self._staging)
        try:
            os.rename(self._layout.path(thing), f"{trash}/{os.path.basename(thing)}")
        finally:
            empty_trash(self._worker, trash)

    def _rewriter(self, data: bytes) -> Callable[[str], None]:
        def rewrite(thing: str) -> None:
            with self._layout.publishing():
                self._staging.publish_file(thing, data)

        return rewrite

    def _forget(self, reference: Reference, _: str) -> None:
        with self._layout.publishing():
            remove_reference(self._layout, reference)

    def _reindex(self, _: str) -> None:
        rewrite_index(self._staging)


def _hash(path: str, algorithm: str) -> str:
    """Return the digest of a file in hexadecimal digits, "" where it was removed meanwhile."""
    digest = hashlib.new(algorithm)
    try:
        with open(path, "rb") as file:
            while piece := file.read(_PIECE):
                digest.update(piece)
    except FileNotFoundError:
        return ""
    return digest.hexdigest()


def _reason(error: LaminaError | OSError) -> str:
    return error.reason if isinstance(error, LaminaError) else str(error.strerror or error)
