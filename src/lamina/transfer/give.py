"""The store as a source: its images, with a blob for each layer, as they are or compressed on their way out.

A layer that came compressed goes out as it came, byte for byte. The tar of any other layer is made from its directory
while it is read, and is checked against its diff id; what it becomes when it is compressed is remembered beside the
layer, so that sending it again to where it is costs no compressing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lamina.errors import InvalidInput, LaminaError, NotFound, StoreError
from lamina.events import Event, OnEvent
from lamina.ids.worker import Fd
from lamina.layer.encode import maker_of, parse_compression
from lamina.oci.descriptor import (
    CONFIG,
    DOCKER_CONFIG,
    LAYER,
    LAYER_COMPRESSION,
    LAYER_GZIP,
    LAYER_ZSTD,
    Descriptor,
)
from lamina.oci.digest import BlobDigest, digest_of, short
from lamina.oci.manifest import Manifest, make_manifest
from lamina.store import making
from lamina.store.blobs import blob_thing, has_blob, read_document
from lamina.store.bundles import BundleRecord, bundle_name, images_of, things_of_bundle
from lamina.store.images import ImageRecord
from lamina.store.layers import LayerRecord, read_compressed, remember_compressed
from lamina.store.layout import Layout
from lamina.store.publish import documents_of, tar_descriptor, things_of
from lamina.store.staging import Staging
from lamina.transfer.content import Blob, Bytes
from lamina.transfer.section import PIECE, Section, whole_file

if TYPE_CHECKING:
    from lamina.ids.worker import Worker

_LAYER_TYPES = {"none": LAYER, "gzip": LAYER_GZIP, "zstd": LAYER_ZSTD}
_AT_ONCE = 2  # layers that are compressed side by side


class StoreSource:
    """Images of the store, given out by a process that keeps them from the collector with `staging`.

    `compression` is what `lamina.layer.encode` takes: what layers become that have no blob.
    """

    def __init__(self, staging: Staging, worker: Worker, *, compression: str, task: str, on_event: OnEvent) -> None:
        self._staging = staging
        self._worker = worker
        self._compression = compression
        self._task = task
        self._on_event = on_event
        self._tars: dict[str, str] = {}  # layers by their diff ids
        self._made: dict[str, Blob] = {}
        self._known: dict[str, str] = {}  # layers by the digests that their compressed forms will have
        self._manifests: dict[str, bytes] = {}

    @property
    def _layout(self) -> Layout:
        return self._staging.layout

    def add(self, image: ImageRecord, doing: str) -> Descriptor:
        """Make ready an image and return its manifest; InvalidInput for one that is bound to this machine."""
        check_portable(image, doing)
        with self._layout.publishing():
            self._staging.pin(*things_of(image))
        manifest, config = documents_of(self._layout, image.manifest, image.layers)
        self._tars.update(zip(config.diff_ids, image.layers, strict=True))
        bare = [layer for layer in manifest.layers if self._is_bare(layer)]
        if bare and self._compression != "none":
            manifest = self._compressed(manifest, bare)
        self._manifests[digest_of(manifest.raw)] = manifest.raw
        return Descriptor(manifest.media_type, digest_of(manifest.raw), len(manifest.raw))

    def add_any(self, image: ImageRecord | BundleRecord, doing: str) -> Descriptor:
        """Make ready an image, or a whole index or artifact."""
        return self.add_bundle(image) if isinstance(image, BundleRecord) else self.add(image, doing)

    def add_bundle(self, bundle: BundleRecord) -> Descriptor:
        """Make ready an index or artifact with all that belongs to it, byte for byte, and return its descriptor."""
        layout = self._layout
        with layout.publishing():
            self._staging.pin(*things_of_bundle(bundle))
            images = images_of(layout, bundle)  # if one is missing, it shows when it is read
            self._staging.pin(*(thing for image in images for thing in things_of(image)))
        for image in images:
            _, config = documents_of(layout, image.manifest, image.layers)
            self._tars.update(zip(config.diff_ids, image.layers, strict=True))
        raw = read_document(layout, bundle.digest, bundle_name(bundle))
        return Descriptor(bundle.media_type, bundle.digest, len(raw))

    def add_artifact(self, media_type: str, config: bytes, layers: Sequence[LayerRecord]) -> Descriptor:
        """Make ready something that is no image: a `config` of `media_type`, and layers, which are pinned already."""
        self._tars.update({str(layer.diff_id): layer.name for layer in layers})
        described = Descriptor(media_type, digest_of(config), len(config))
        self._made[described.digest] = Bytes(config)
        manifest = make_manifest(described, tuple(tar_descriptor(layer) for layer in layers), {})
        if self._compression != "none":
            manifest = self._compressed(manifest, list(manifest.layers))
        self._manifests[digest_of(manifest.raw)] = manifest.raw
        return Descriptor(manifest.media_type, digest_of(manifest.raw), len(manifest.raw))

    def document(self, descriptor: Descriptor) -> bytes:
        """Return a manifest or config."""
        made = self._manifests.get(descriptor.digest)
        return made or read_document(self._layout, descriptor.digest, f"the document {descriptor.digest}")

    def blob(self, descriptor: Descriptor) -> Blob:
        """Return a blob: a file of the store, one that was made, or a tar that is made while it is read."""
        if descriptor.digest in self._known and descriptor.digest not in self._made:
            noted = self._known[descriptor.digest]
            found, _ = self._make(noted)
            if found != descriptor.digest:
                raise StoreError(
                    "compress",
                    f"the layer {noted}",
                    f"it becomes {found}, not {descriptor.digest} as was noted",
                    "what was noted is right now: try it again",
                )
        if descriptor.digest in self._made:
            return self._made[descriptor.digest]
        if has_blob(self._layout, descriptor.digest):
            return whole_file(self._layout.path(blob_thing(descriptor.digest)))
        name = self._tars.get(descriptor.digest)
        if name is None:
            raise NotFound("read", f"the blob {descriptor.digest}", f"it is missing from {self._layout.root}")
        return _LayerTar(self._layout, self._worker, name)

    def stop(self) -> None:
        """Nothing waits for anybody here."""

    def _is_bare(self, layer: Descriptor) -> bool:
        return layer.digest in self._tars and not has_blob(self._layout, layer.digest)

    def _compressed(self, manifest: Manifest, bare: list[Descriptor]) -> Manifest:
        """Return the image's manifest with the layers `bare` compressed."""
        with ThreadPoolExecutor(_AT_ONCE, "lamina-compress") as pool:
            made = dict(zip((layer.digest for layer in bare), pool.map(self._compress, bare), strict=True))
        layers = [made.get(layer.digest) or _in_oci_words(layer) for layer in manifest.layers]
        known = manifest.config.media_type == DOCKER_CONFIG
        config = replace(manifest.config, media_type=CONFIG) if known else manifest.config
        return make_manifest(config, tuple(layers), manifest.annotations)

    def _compress(self, layer: Descriptor) -> Descriptor:
        """Return what the layer becomes; it is made only if nobody knows yet, or when it is asked for."""
        name = self._tars[layer.digest]
        try:
            known = read_compressed(self._layout, name, maker_of(self._compression))
        except LaminaError:  # what is made now takes its place
            known = None
        if known is None:
            self._on_event(Event(self._task, short(layer.digest), total=layer.size))
            known = self._make(name)
        else:
            self._known[known[0]] = name
        digest, size = known
        return Descriptor(_LAYER_TYPES[parse_compression(self._compression)[0]], digest, size, layer.annotations)

    def _make(self, name: str) -> tuple[BlobDigest, int]:
        path = self._staging.new_path()
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            digest, size = making.write_compressed(self._layout, self._worker, name, Fd(fd), self._compression)
        finally:
            os.close(fd)
        self._made[digest] = Section(path, 0, size)
        remember_compressed(self._staging, name, maker_of(self._compression), digest, size)
        return digest, size


def check_portable(image: ImageRecord, doing: str) -> None:
    """Refuse an image that is of use on this machine only."""
    if image.host or not image.id:
        raise InvalidInput(
            doing,
            short(image.id) or "host",
            "it is a change over this machine's own root, and of no use elsewhere",
            "lamina commit --standalone makes an image that includes the base",
        )


def _in_oci_words(layer: Descriptor) -> Descriptor:
    """Return the descriptor with OCI's name for its media type: a manifest speaks one language."""
    return replace(layer, media_type=_LAYER_TYPES[LAYER_COMPRESSION[layer.media_type]])


@dataclass(frozen=True, slots=True)
class _LayerTar:
    """The tar of a layer, made while it is read."""

    layout: Layout
    worker: Worker
    name: str

    def pieces(self) -> Iterator[bytes]:
        """Yield the bytes; StoreError, before the end, where they are not what they were."""
        reader, writer = os.pipe()
        with ThreadPoolExecutor(1, "lamina-assemble") as pool:
            making_it = pool.submit(self._make, writer)
            try:
                while piece := os.read(reader, PIECE):
                    yield piece
                making_it.result()
            finally:
                os.close(reader)  # who makes it stops where nobody reads

    def _make(self, writer: int) -> None:
        try:
            making.write_tar(self.layout, self.worker, self.name, Fd(writer))
        finally:
            os.close(writer)
