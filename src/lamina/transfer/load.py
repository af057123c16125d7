"""Load: the images of an archive or a layout directory become images of the store."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, BinaryIO

from lamina.events import OnEvent
from lamina.oci.descriptor import INDEX_TYPES
from lamina.oci.platform import Platform
from lamina.oci.reference import Reference
from lamina.store.bundles import images_of
from lamina.store.images import ImageRecord
from lamina.store.layout import Layout
from lamina.store.staging import Staging
from lamina.transfer.archive import open_images
from lamina.transfer.bundle import Bundling
from lamina.transfer.take import find_manifest, take_image

if TYPE_CHECKING:
    from lamina.ids.worker import Worker

Loaded = list[tuple[ImageRecord, tuple[Reference, ...]]]


def load_images(
    layout: Layout,
    worker: Worker,
    source: str | os.PathLike[str] | BinaryIO,
    *,
    platform: Platform,
    all_platforms: bool = False,
    max_size: int | None,
    on_event: OnEvent,
) -> Loaded:
    """Take all images of `source` into the store and return each with the names that it was given.

    Of an index, the image for `platform` is taken, or with `all_platforms` the index with all of its images, which are
    then returned one by one with its names. An image that is not there is made known once it is whole; one that
    follows a broken one is not read.
    """
    loaded: Loaded = []
    with Staging(layout) as staging, open_images(staging, source) as images:
        for found in images.images():
            manifest = found.descriptor
            if manifest.media_type in INDEX_TYPES and all_platforms:
                bundling = Bundling(staging, worker, images, "load", max_size, on_event)
                loaded += [(image, found.names) for image in images_of(layout, bundling.take(manifest, found.names))]
                continue
            if manifest.media_type in INDEX_TYPES:
                manifest = find_manifest(images, manifest, platform)
            record = take_image(
                staging, worker, images, manifest, found.names, task="load", max_size=max_size, on_event=on_event
            )
            loaded.append((record, found.names))
    return loaded
