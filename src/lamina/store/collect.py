"""Taking away what nothing needs.

What is needed: what references name, what containers were made of, and what the living pinned (`staging`). It is found
and the rest renamed into a staging directory under the store's exclusive lock, which therefore lasts for a few renames;
the trees are removed after the lock is released, and by the next `prune` if that is cut short.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lamina.layer import jobs
from lamina.store.blobs import blob_thing, has_blob
from lamina.store.bundles import bundle_thing, list_bundles, things_of_bundle
from lamina.store.containers import (
    ContainerRecord,
    container_thing,
    is_held,
    list_containers,
    read_container,
    take_away,
)
from lamina.store.files import list_directory, read_if_present
from lamina.store.images import image_thing, list_images, read_image
from lamina.store.index import rewrite_index
from lamina.store.layout import Layout
from lamina.store.publish import read_manifest, things_of
from lamina.store.references import list_references, remove_reference
from lamina.store.staging import Staging, is_alive

if TYPE_CHECKING:
    from lamina.ids.worker import Worker


@dataclass(frozen=True, slots=True)
class Collected:
    """What was taken away. `left_over` counts staging directories of processes that died; `size` is bytes on disk."""

    containers: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    layers: int = 0
    blobs: int = 0
    left_over: int = 0
    size: int = 0


def collect(layout: Layout, worker: Worker, *, containers: bool, unused_images: bool) -> Collected:
    """Remove all that nothing needs and return what that was.

    `containers`: those that do not run, too. `unused_images`: images of which there is no container, too, and not only
    those without a reference.
    """
    with Staging(layout) as staging:
        trash = new_trash(staging)
        with layout.collecting():
            pins, dead = _living_pins(layout)
            left_over = _move(layout, trash, [f"staging/{name}" for name in dead])
            gone = _take_containers(staging, trash, pins) if containers else []
            _drop_stale_names(layout)
            images = _drop_images(layout, pins, with_references=unused_images)
            swept = sweep(layout, trash, _everything(layout), needed_things(layout, pins))
        rewrite_index(staging)
        size = empty_trash(worker, trash)
    return Collected(
        containers=tuple(gone),
        images=tuple(images),
        layers=sum(thing.startswith("layers/") for thing in swept),
        blobs=sum(thing.startswith("blobs/") for thing in swept),
        left_over=left_over,
        size=size,
    )


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


def _everything(layout: Layout) -> list[str]:
    things = [f"layers/{name}" for name in list_directory(layout.path("layers"))]
    for algorithm in list_directory(layout.path("blobs")):
        things += [f"blobs/{algorithm}/{name}" for name in list_directory(layout.path("blobs", algorithm))]
    return things


def _move(layout: Layout, trash: str, things: Iterable[str]) -> int:
    moved = 0
    for thing in things:
        try:
            os.rename(layout.path(thing), f"{trash}/{thing.replace('/', '-')}")
        except FileNotFoundError:
            continue
        moved += 1
    return moved


def _take_containers(staging: Staging, trash: str, pins: set[str]) -> list[str]:
    layout = staging.layout
    gone = []
    for container in list_containers(layout):
        if container_thing(container.id) in pins or is_held(layout, container.id):
            continue
        moved = take_away(staging, container)
        if moved is not None:
            os.rename(moved, f"{trash}/{container.id}")
            gone.append(container.id)
    return gone


def _drop_stale_names(layout: Layout) -> None:
    # A process that died between taking the name and making the container leaves such a one.
    for name in list_directory(layout.path("names")):
        path = layout.path("names", name)
        holder = os.fsdecode(read_if_present(path) or b"").strip()
        if not holder or read_container(layout, holder) is None:
            os.unlink(path)


def _drop_images(layout: Layout, pins: set[str], *, with_references: bool) -> list[str]:
    used = {container.image for container in list_containers(layout)}
    gone: list[str] = [
        bundle.digest
        for bundle in list_bundles(layout)
        if bundle_thing(bundle.digest) not in pins
        and not used.intersection(manifest for manifest, _ in bundle.images)
        and _drop_if_free(layout, bundle.digest, bundle_thing(bundle.digest), with_references=with_references)
    ]
    held = {manifest for bundle in list_bundles(layout) for manifest, _ in bundle.images}
    for image in list_images(layout):
        thing = image_thing(image.manifest)
        if image.manifest in used | held or thing in pins:
            continue
        if _drop_if_free(layout, image.manifest, thing, with_references=with_references):
            gone.append(image.id)
    return gone


def _drop_if_free(layout: Layout, manifest: str, thing: str, *, with_references: bool) -> bool:
    """Remove the record `thing` if no reference names it, or with its references."""
    named = [reference for reference, digest in list_references(layout) if digest == manifest]
    if named and not with_references:
        return False
    for reference in named:
        remove_reference(layout, reference)
    drop_record(layout, thing)
    return True


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
