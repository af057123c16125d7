"""Copy: an image from one place to another, unpacked only where the store is one of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lamina.errors import NotFound
from lamina.events import OnEvent
from lamina.oci.descriptor import INDEX_TYPES, Descriptor
from lamina.oci.manifest import parse_any_manifest
from lamina.oci.platform import Platform
from lamina.oci.reference import Reference, parse_name, parse_reference
from lamina.store.bundles import BundleRecord, choose_image, find_root
from lamina.store.layout import Layout
from lamina.store.references import list_references
from lamina.store.staging import Staging
from lamina.transfer.archive import Images, open_images
from lamina.transfer.bundle import Bundling
from lamina.transfer.content import Found, Source
from lamina.transfer.give import StoreSource
from lamina.transfer.graph import Copier
from lamina.transfer.layout import LayoutSource
from lamina.transfer.places import Place
from lamina.transfer.pull import AT_ONCE
from lamina.transfer.remote import open_for_pull, open_repository
from lamina.transfer.save import new_file
from lamina.transfer.sink import ArchiveWriter, LayoutSink, open_directory_sink
from lamina.transfer.take import find_manifest, take_image

if TYPE_CHECKING:
    from lamina.ids.worker import Worker


@dataclass(frozen=True, slots=True)
class Copying:
    """What every copy needs: the store, and how things are to be done.

    `compression` is for layers of the store that have no blob. With `all_platforms`, an index is copied whole.
    """

    layout: Layout
    worker: Worker
    environ: Mapping[str, str]
    platform: Platform
    compression: str
    all_platforms: bool
    on_event: OnEvent

    def copy(self, origin: Place, target: Place) -> None:
        """Copy the image at `origin` to `target`."""
        with Staging(self.layout) as staging, self._source(staging, origin, target) as (source, found):
            chosen = found.descriptor
            if chosen.media_type in INDEX_TYPES and not self.all_platforms:
                chosen = find_manifest(source, chosen, self.platform)
            self._deliver(staging, source, Found(chosen, found.names), target)

    @contextmanager
    def _source(self, staging: Staging, origin: Place, target: Place) -> Iterator[tuple[Source, Found]]:
        if origin.kind == "docker":
            reference = parse_reference(origin.name).tagged()
            with open_for_pull(self.environ, reference, self.on_event) as (repository, manifest):
                yield repository, Found(manifest, _tagged(reference))
        elif origin.kind == "store":
            root = find_root(self.layout, origin.name)
            if isinstance(root, BundleRecord) and not root.kind and not self.all_platforms:
                root = choose_image(self.layout, root, origin.name, str(self.platform))
            compression = "none" if target.kind == "store" else self.compression
            source = StoreSource(staging, self.worker, compression=compression, task="copy", on_event=self.on_event)
            digest = root.digest if isinstance(root, BundleRecord) else root.manifest
            names = [name for name, named in list_references(self.layout) if named == digest]
            yield source, Found(source.add_any(root, "copy the image"), tuple(names))
        else:
            with open_images(staging, origin.path) as images:
                yield images, _find(images, origin)

    def _deliver(self, staging: Staging, source: Source, found: Found, target: Place) -> None:
        if target.kind == "store":
            names = [parse_name(target.name)]
            if self._is_bundle(source, found.descriptor):
                Bundling(staging, self.worker, source, "copy", None, self.on_event).take(found.descriptor, names)
                return
            take_image(staging, self.worker, source, found.descriptor, names, task="copy", on_event=self.on_event)
        elif target.kind == "docker":
            reference = parse_reference(target.name).tagged()
            with open_repository(self.environ, reference, pushing=True) as repository:
                copier = Copier(source, repository, "copy", self.on_event, AT_ONCE)
                copier.copy(found.descriptor, _tagged(reference))
        elif target.kind == "oci":
            sink = open_directory_sink(target.path, target.name)
            self._fill(source, sink, found.descriptor, found.names)
        else:
            docker = target.kind == "docker-archive"
            names = [parse_name(target.name)] if docker and target.name else list(found.names)
            with new_file(target.path) as fd:
                writer = ArchiveWriter(fd)
                sink = LayoutSink(writer, label="" if docker else target.name, docker=docker)
                self._fill(source, sink, found.descriptor, names)
                writer.end()

    @staticmethod
    def _is_bundle(source: Source, descriptor: Descriptor) -> bool:
        if descriptor.media_type in INDEX_TYPES:
            return True
        return not parse_any_manifest(source.document(descriptor), f"the manifest {descriptor.digest}").is_image

    def _fill(self, source: Source, sink: LayoutSink, descriptor: Descriptor, names: Sequence[Reference]) -> None:
        Copier(source, sink, "copy", self.on_event).copy(descriptor, names)
        sink.finish()


def _tagged(reference: Reference) -> tuple[Reference, ...]:
    if reference.tag is None:
        return ()
    return (Reference(reference.registry, reference.repository, reference.tag),)


def _find(images: Images, origin: Place) -> Found:
    if isinstance(images, LayoutSource):
        return images.find(origin.name)
    listed = images.images()
    if not origin.name:
        if len(listed) != 1:
            names = ", ".join(name.familiar for found in listed for name in found.names)
            raise NotFound("find an image in", origin.path, f"it has {len(listed)} ({names})", "add :NAME to say which")
        return listed[0]
    wanted = parse_name(origin.name)
    for found in listed:
        if wanted in found.names:
            return found
    raise NotFound("find the image", origin.name, f"{origin.path} has none of this name")
