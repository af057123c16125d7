"""How much of the disk a store takes: by kind, by image, and what could be freed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lamina.layer import jobs
from lamina.oci.digest import BlobDigest, ImageId
from lamina.store.bundles import names_of_images
from lamina.store.collect import living_pins, needed_things
from lamina.store.containers import container_thing, list_containers
from lamina.store.files import list_directory
from lamina.store.images import list_images
from lamina.store.layout import Layout
from lamina.store.publish import things_of
from lamina.store.room import large_things, size_of

if TYPE_CHECKING:
    from lamina.ids.worker import Worker


@dataclass(frozen=True, slots=True)
class Kind:
    """Things of one kind: how many, and in bytes what they take and what of that nothing needs."""

    name: str
    count: int
    size: int
    reclaimable: int


@dataclass(frozen=True, slots=True)
class ImageUsage:
    """An image: what all that it needs takes, and what of that no other image has, which removing it would free."""

    id: ImageId
    manifest: BlobDigest
    names: tuple[str, ...]
    size: int
    unique: int


@dataclass(frozen=True, slots=True)
class Usage:
    """A store's use of the disk. `size` is all of it, as du(1) counts; the kinds do not count records and locks."""

    size: int
    kinds: tuple[Kind, ...]
    images: tuple[ImageUsage, ...]


def measure(layout: Layout, worker: Worker) -> Usage:
    """Return what the store takes now, in bytes on disk."""
    with layout.publishing():
        pins = living_pins(layout)
        needed = needed_things(layout, pins)
        things = _things(layout)
    sizes = {thing: size_of(layout, worker, thing) for thing in things}
    return Usage(
        size=int(worker.call(jobs.disk_usage, path=layout.root)["bytes"]),
        kinds=tuple(_kind(name, sizes, needed) for name in ("layers", "blobs", "containers", "build", "staging")),
        images=tuple(_images(layout, sizes)),
    )


def _things(layout: Layout) -> list[str]:
    things = large_things(layout)
    things += [container_thing(container.id) for container in list_containers(layout)]
    things += [f"build/{name}" for name in list_directory(layout.path("build"))]
    return things + [f"staging/{name}" for name in list_directory(layout.path("staging"))]


def _kind(name: str, sizes: dict[str, int], needed: set[str]) -> Kind:
    mine = [thing for thing in sizes if thing.startswith(f"{name}/")]
    # Containers are kept until somebody removes them, and what is being made is in use.
    unneeded = [thing for thing in mine if thing not in needed] if name in ("layers", "blobs") else []
    return Kind(name, len(mine), _total(sizes, mine), _total(sizes, unneeded))


def _images(layout: Layout, sizes: dict[str, int]) -> list[ImageUsage]:
    images = list_images(layout)
    names = names_of_images(layout)
    owners: dict[str, int] = {}
    for image in images:
        for thing in set(things_of(image)):
            owners[thing] = owners.get(thing, 0) + 1
    return [
        ImageUsage(
            image.id,
            image.manifest,
            tuple(name.familiar for name in names.get(image.manifest, ())),
            size=_total(sizes, set(things_of(image))),
            unique=_total(sizes, (thing for thing in set(things_of(image)) if owners[thing] == 1)),
        )
        for image in images
    ]


def _total(sizes: dict[str, int], things: Iterable[str]) -> int:
    return sum(sizes.get(thing, 0) for thing in things)
