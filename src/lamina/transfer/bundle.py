"""Indexes and artifacts come into the store as they are: images of theirs unpacked, everything else as blobs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lamina.errors import InvalidInput
from lamina.events import Event, OnEvent
from lamina.oci.descriptor import INDEX_TYPES, Descriptor
from lamina.oci.digest import short
from lamina.oci.index import parse_index
from lamina.oci.manifest import parse_any_manifest
from lamina.oci.reference import Reference
from lamina.store.blobs import blob_thing, has_blob, publish_blob, put_document
from lamina.store.bundles import BundleRecord
from lamina.store.publish import check_name, publish_bundle
from lamina.store.remake import remake_bundle
from lamina.store.staging import Staging
from lamina.transfer.content import Source, verified
from lamina.transfer.take import MAX_NESTING, take_image

if TYPE_CHECKING:
    from lamina.ids.worker import Worker


@dataclass(frozen=True, slots=True)
class Bundling:
    """Takes one index or artifact out of `source`, with all that belongs to it; `task` names the work in events."""

    staging: Staging
    worker: Worker
    source: Source
    task: str
    max_size: int | None
    on_event: OnEvent

    def take(self, descriptor: Descriptor, names: Sequence[Reference]) -> BundleRecord:
        """Publish it under `names`. Nothing is visible before everything was checked, but for its images."""
        for name in names:
            check_name(name)
        self._document(descriptor, 0)
        bundle = remake_bundle(self.staging.layout, descriptor.digest)
        publish_bundle(self.staging, bundle, names)
        return bundle

    def _document(self, descriptor: Descriptor, depth: int) -> None:
        """Take a manifest or index that is no image by itself, after all that it refers to."""
        if depth > MAX_NESTING:
            raise InvalidInput("use the index", descriptor.digest, f"indexes lie in it more than {MAX_NESTING} deep")
        data = self.source.document(descriptor)
        what = f"the manifest {descriptor.digest}"
        if descriptor.media_type in INDEX_TYPES:
            for child in parse_index(data, what).manifests:
                self._child(child, depth + 1)
        else:
            manifest = parse_any_manifest(data, what)
            for part in (manifest.config, *manifest.layers):
                self._blob(part)
        with self.staging.layout.publishing():
            put_document(self.staging, data)

    def _child(self, child: Descriptor, depth: int) -> None:
        if child.media_type in INDEX_TYPES:
            self._document(child, depth)
            return
        manifest = parse_any_manifest(self.source.document(child), f"the manifest {child.digest}")
        if not manifest.is_image:
            self._document(child, depth)
            return
        take_image(
            self.staging,
            self.worker,
            self.source,
            child,
            (),
            task=self.task,
            max_size=self.max_size,
            on_event=self.on_event,
        )

    def _blob(self, descriptor: Descriptor) -> None:
        layout, thing = self.staging.layout, blob_thing(descriptor.digest)
        with layout.publishing():
            self.staging.pin(thing)
            if has_blob(layout, descriptor.digest):
                return
        path = self.staging.new_path()
        with open(path, "xb") as file:
            for piece in verified(self.source.blob(descriptor), descriptor):
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        with layout.publishing():
            publish_blob(self.staging, path, descriptor.digest)
        size = descriptor.size
        self.on_event(Event(self.task, short(descriptor.digest), done=size, total=size, finished=True))
