"""Taking away what nothing needs.

What is needed: what references name, what containers were made of, and what the living pinned (`staging`). It is found
and the rest renamed into a staging directory under the store's exclusive lock, which therefore lasts for a few renames;
the trees are removed after the lock is released, and by the next `prune` if that is cut short.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from lamina.layer import jobs
from lamina.store.blobs import blob_thing, has_blob
from lamina.store.bundles import bundle_thing, holders, images_of, list_bundles, things_of_bundle
from lamina.store.containers import (
    ContainerRecord,
    container_thing,
    is_held,
    list_containers,
    read_container,
    take_away,
)
from lamina.store.failed import things_of_failures
from lamina.store.files import list_directory, read_if_present
from lamina.store.images import image_thing, list_images, read_image
from lamina.store.index import rewrite_index
from lamina.store.layout import Layout
from lamina.store.publish import read_manifest, things_of
from lamina.store.references import list_references, remove_reference
from lamina.store.room import Room, large_things
from lamina.store.staging import Staging, is_alive
from lamina.store.steps import read_step

if TYPE_CHECKING:
    from lamina.ids.worker import Worker


#: Something that may be taken away: when it came to the store, and how it is taken.
Candidate = tuple[int, Callable[[], object]]


@dataclass(frozen=True, slots=True)
class Collected:
    """What was taken away. `left_over` counts staging directories of processes that died; `size` is bytes on disk."""

    containers: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    layers: int = 0
    blobs: int = 0
    left_over: int = 0
    size: int = 0


#: What can be collected, and what is if nobody says otherwise. "leftovers" are staging directories of the dead.
KINDS = ("containers", "images", "layers", "blobs", "cache", "leftovers")
USUAL = frozenset({"images", "layers", "blobs", "leftovers"})


def collect(
    layout: Layout,
    worker: Worker,
    *,
    containers: bool = False,
    unused_images: bool = False,
    kinds: Collection[str] = USUAL,
    before: int | None = None,
    keep: int | None = None,
) -> Collected:
    """Remove what nothing needs, of `kinds` and what only that needed, and return what that was.

    `containers`: those that do not run, too. `unused_images`: images of which there is no container, too, and not only
    those without a reference. `before` (nanoseconds since the epoch) spares what came to the store since. With `keep`
    the oldest goes first, and no more than it takes for the store to have so many bytes on disk.
    """
    wanted = frozenset(kinds) | ({"containers"} if containers else frozenset())
    with Staging(layout) as staging:
        trash = new_trash(staging)
        room = Room(layout, worker, keep) if keep is not None else None
        with layout.collecting():
            taking = _Taking(staging, trash, wanted, unused_images=unused_images, before=before)
            taking.all(room)
            _drop_stale_names(layout)
        rewrite_index(staging)
        size = empty_trash(worker, trash)
    return Collected(
        containers=tuple(taking.containers),
        images=tuple(taking.images),
        layers=sum(thing.startswith("layers/") for thing in taking.swept),
        blobs=sum(thing.startswith("blobs/") for thing in taking.swept),
        left_over=taking.left_over,
        size=size,
    )


class _Taking:
    """One collection, under the store's exclusive lock."""

    def __init__(
        self, staging: Staging, trash: str, kinds: frozenset[str], *, unused_images: bool, before: int | None
    ) -> None:
        self._staging = staging
        self._layout = staging.layout
        self._trash = trash
        self._kinds = kinds
        self._unused_images = unused_images
        self._before = before
        self._pins, self._dead = _living_pins(self._layout)
        # What goes with images and containers that are taken, though nobody asked for layers or blobs.
        self._own = needed_things(self._layout, self._pins)
        self.containers: list[str] = []
        self.images: list[str] = []
        self.swept: list[str] = []
        self.left_over = 0

    def all(self, room: Room | None) -> None:
        """Take what may be taken, or with `room` the oldest of it until there is enough."""
        if "leftovers" in self._kinds:
            self.left_over = _move(self._layout, self._trash, [f"staging/{name}" for name in self._dead])
            left = [*things_of_failures(self._layout), *self._nameless()]
            if self._before is not None:
                left = [thing for thing in left if self._moment(thing) < self._before]
            _move(self._layout, self._trash, left)
        self._sweep(room)  # what nothing needs already costs nobody anything
        for take in (self._take_containers, self._take_images, self._take_cache):
            for moment, action in sorted(take(), key=lambda candidate: candidate[0]):
                if room is not None and room.enough:
                    return
                if self._before is None or moment < self._before:
                    action()
                    if room is not None:
                        self._sweep(room)
        self._sweep(room)

    def _nameless(self) -> list[str]:
        """Return the containers whose removal ended, with its process, behind that of their names."""
        found = []
        for container in list_containers(self._layout):
            holder = os.fsdecode(read_if_present(self._layout.path("names", container.name)) or b"").strip()
            thing = container_thing(container.id)
            if holder != container.id and thing not in self._pins and not is_held(self._layout, container.id):
                found.append(thing)
        return found

    def _sweep(self, room: Room | None) -> None:
        """Move what nothing needs any more into the trash, or with `room` the oldest of it."""
        needed = needed_things(self._layout, self._pins)
        free = [
            (self._moment(thing), thing)
            for thing in large_things(self._layout)
            if thing not in needed and (thing.partition("/")[0] in self._kinds or thing in self._own)
        ]
        for moment, thing in sorted(free):
            if room is not None and room.enough:
                return
            if self._before is None or moment < self._before:
                self.swept += sweep(self._layout, self._trash, [thing], needed)
                if room is not None:
                    room.without(thing)

    def _moment(self, thing: str) -> int:
        """Return when something came to the store: what has a digest for a name does not change after that."""
        try:
            return os.stat(self._layout.path(thing)).st_mtime_ns
        except FileNotFoundError:
            return 0

    def _take_containers(self) -> Iterator[Candidate]:
        if "containers" not in self._kinds:
            return
        for container in list_containers(self._layout):
            if container_thing(container.id) in self._pins or is_held(self._layout, container.id):
                continue
            state = self._moment(f"{container_thing(container.id)}/state")
            yield state or container.created, partial(self._take_container, container)

    def _take_container(self, container: ContainerRecord) -> None:
        moved = take_away(self._staging, container)
        if moved is not None:
            os.rename(moved, f"{self._trash}/{container.id}")
            self.containers.append(container.id)

    def _take_images(self) -> Iterator[Candidate]:
        """Yield the bundles first: an image of one stays as long as that does."""
        if "images" not in self._kinds:
            return
        layout = self._layout
        used = {container.image for container in list_containers(layout)}
        for bundle in list_bundles(layout):
            if used.isdisjoint(manifest for manifest, _ in bundle.images):
                thing = bundle_thing(bundle.digest)
                yield from self._candidate(bundle.digest, thing, bundle.digest)
                for image in images_of(layout, bundle):
                    yield from self._candidate(image.manifest, image_thing(image.manifest), image.id, after=thing)
        for image in list_images(layout):
            if image.manifest not in used:
                yield from self._candidate(image.manifest, image_thing(image.manifest), image.id)

    def _candidate(self, digest: str, thing: str, name: str, *, after: str = "") -> Iterator[Candidate]:
        if thing not in self._pins:
            moment = max(self._moment(thing), self._moment(after) if after else 0)
            yield moment, partial(self._take_image, digest, thing, name)

    def _take_image(self, digest: str, thing: str, name: str) -> None:
        """Remove the record `thing` of an image or bundle if nothing names it, or with its references."""
        layout = self._layout
        named = [reference for reference, its in list_references(layout) if its == digest]
        gone = not os.path.exists(layout.path(thing))
        if gone or (named and not self._unused_images) or (holders(layout, [digest]) and thing.startswith("images/")):
            return
        for reference in named:
            remove_reference(layout, reference)
        drop_record(layout, thing)
        self.images.append(name)

    def _take_cache(self) -> Iterator[Candidate]:
        """Yield what builds keep; directories of cache mounts, which nobody pins, only where nobody else is at work."""
        if "cache" not in self._kinds:
            return
        alone = len(list_directory(self._layout.path("staging"))) - len(self._dead) <= 1
        for folder in ("steps", "last", "digests", "whole", *(["cache"] if alone else [])):
            for name in list_directory(self._layout.path("build", folder)):
                thing = f"build/{folder}/{name}"
                yield self._moment(thing), partial(self._take_cached, thing, name)

    def _take_cached(self, thing: str, name: str) -> None:
        step = read_step(self._layout, name) if thing.startswith("build/steps/") else None
        if step is not None:
            self._own.add(f"layers/{step.layer}")
        _move(self._layout, self._trash, [thing])


def new_trash(staging: Staging) -> str:
    """Return a new directory for what is to be removed."""
    trash = staging.new_path()
    os.mkdir(trash, 0o700)
    return trash


def empty_trash(worker: Worker, trash: str) -> int:
    """Remove the directory with all that is in it, and return how many bytes that frees."""
    size = int(worker.call(jobs.disk_usage, path=trash)["bytes"]) if os.listdir(trash) else 0
    worker.call(jobs.remove_tree, path=trash)
    return size


def needed_things(layout: Layout, pins: set[str]) -> set[str]:
    """Return everything that must stay. The caller holds the store for collecting."""
    needed = set(pins)
    manifests: set[str] = {digest for _, digest in list_references(layout)}
    manifests.update(f"sha256:{name}" for name in list_directory(layout.path("images")))
    for manifest in manifests:
        image = read_image(layout, manifest)
        if image is not None:
            needed.update(things_of(image))
    for bundle in list_bundles(layout):
        needed.update(things_of_bundle(bundle))
    for container in list_containers(layout):
        needed.update(_things_of_container(layout, container))
    return needed


def sweep(layout: Layout, trash: str, candidates: Iterable[str], needed: set[str]) -> list[str]:
    """Move those of `candidates` that are not needed into the trash and return them."""
    doomed = [thing for thing in candidates if thing not in needed]
    _move(layout, trash, doomed)
    return doomed


def living_pins(layout: Layout) -> set[str]:
    """Return what the living keep. The caller holds the store for collecting."""
    return _living_pins(layout)[0]


def _living_pins(layout: Layout) -> tuple[set[str], list[str]]:
    pins: set[str] = set()
    dead: list[str] = []
    for name in list_directory(layout.path("staging")):
        path = layout.path("staging", name)
        if not is_alive(path):
            dead.append(name)
            continue
        pins.update(os.fsdecode(read_if_present(f"{path}/pins") or b"").split())
    return pins, dead


def _move(layout: Layout, trash: str, things: Iterable[str]) -> int:
    moved = 0
    for thing in things:
        try:
            os.rename(layout.path(thing), f"{trash}/{thing.replace('/', '-')}")
        except FileNotFoundError:
            continue
        moved += 1
    return moved


def _drop_stale_names(layout: Layout) -> None:
    # A process that died between taking the name and making the container leaves such a one.
    for name in list_directory(layout.path("names")):
        path = layout.path("names", name)
        holder = os.fsdecode(read_if_present(path) or b"").strip()
        if not holder or read_container(layout, holder) is None:
            os.unlink(path)


def drop_record(layout: Layout, thing: str) -> None:
    """Remove the record that makes a document an image or a bundle; what that needed is left to `sweep`."""
    try:
        os.unlink(layout.path(thing))
    except FileNotFoundError:
        pass


def _things_of_container(layout: Layout, container: ContainerRecord) -> list[str]:
    things = [f"layers/{name}" for name in container.layers]
    if container.image and has_blob(layout, container.image):
        # Its image may have lost its record (`rmi --force`), but a commit still builds on its documents.
        manifest = read_manifest(layout, container.image)
        digests = [container.image, manifest.config.digest, *(layer.digest for layer in manifest.layers)]
        things += [blob_thing(digest) for digest in digests]
    return things
