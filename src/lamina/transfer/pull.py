"""Pull and push: images of the store from and to registries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from lamina.events import OnEvent
from lamina.oci.descriptor import INDEX_TYPES, Descriptor
from lamina.oci.platform import Platform
from lamina.oci.reference import Reference
from lamina.store.bundles import BundleRecord, choose_image
from lamina.store.images import ImageRecord, read_image
from lamina.store.layout import Layout
from lamina.store.references import list_references
from lamina.store.staging import Staging
from lamina.transfer.bundle import Bundling
from lamina.transfer.give import StoreSource, check_portable
from lamina.transfer.graph import Copier
from lamina.transfer.remote import open_for_pull, open_repository
from lamina.transfer.take import find_manifest, take_image

if TYPE_CHECKING:
    from lamina.ids.worker import Worker

#: Blobs that are sent side by side.
AT_ONCE = 4


def pull_image(
    layout: Layout,
    worker: Worker,
    reference: Reference,
    *,
    platform: Platform,
    all_platforms: bool = False,
    max_size: int | None = None,
    named: bool = True,
    environ: Mapping[str, str],
    on_event: OnEvent,
) -> ImageRecord:
    """Take an image from its registry; with a tag it is called by `reference` if it is to be `named` at all.

    By a digest alone it has no name. With `all_platforms` an index is taken whole, with all of its images; the one for
    `platform` is returned.
    """
    names = [Reference(reference.registry, reference.repository, reference.tag)] if named and reference.tag else []
    with Staging(layout) as staging, open_for_pull(environ, reference, on_event) as (repository, found):
        if all_platforms and found.media_type in INDEX_TYPES:
            bundle = Bundling(staging, worker, repository, "pull", max_size, on_event).take(found, names)
            return choose_image(layout, bundle, reference.familiar, str(platform))
        manifest = find_manifest(repository, found, platform)
        return take_image(
            staging, worker, repository, manifest, names, task="pull", max_size=max_size, on_event=on_event
        )


def push_image(
    layout: Layout,
    worker: Worker,
    image: ImageRecord | BundleRecord,
    reference: Reference,
    *,
    compression: str,
    environ: Mapping[str, str],
    on_event: OnEvent,
) -> Descriptor:
    """Send an image to where `reference` says, but for what is there; return the manifest, or index, that is sent.

    An index or artifact is sent with all that belongs to it, byte for byte. InvalidInput for an
    image that is bound to this machine.
    """
    if isinstance(image, ImageRecord):
        check_portable(image, "push the image")
    with Staging(layout) as staging, open_repository(environ, reference, pushing=True) as repository:
        repository.offer(_elsewhere(layout, reference))
        repository.greet()  # before layers are compressed for nothing
        source = StoreSource(staging, worker, compression=compression, task="push", on_event=on_event)
        manifest = source.add_any(image, "push the image")
        Copier(source, repository, "push", on_event, AT_ONCE).copy(manifest, [reference])
        return manifest


def _elsewhere(layout: Layout, reference: Reference) -> dict[str, str]:
    """Return which blobs are in other repositories of the registry, as far as the names in the store tell."""
    found: dict[str, str] = {}
    for name, digest in list_references(layout):
        if name.registry == reference.registry and name.repository != reference.repository:
            image = read_image(layout, digest)
            found.update(dict.fromkeys(image.blobs if image else (), name.repository))
    return found
