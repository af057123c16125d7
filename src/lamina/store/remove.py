"""Removing images by name, with docker's rules of what is in the way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lamina.errors import Conflict, InvalidInput
from lamina.oci.digest import BlobDigest
from lamina.oci.reference import Reference, parse_reference
from lamina.store.collect import drop_image, empty_trash, living_pins, needed_things, new_trash, sweep
from lamina.store.containers import ContainerRecord, list_containers
from lamina.store.images import ImageRecord, find_image, list_images
from lamina.store.index import rewrite_index
from lamina.store.layout import Layout
from lamina.store.publish import things_of
from lamina.store.references import list_references, read_reference, remove_reference
from lamina.store.staging import Staging

if TYPE_CHECKING:
    from lamina.ids.worker import Worker


@dataclass(frozen=True, slots=True)
class Removed:
    """What a removal did: names that were taken away, ids of images, names of layers, and bytes on disk freed."""

    untagged: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()
    size: int = 0


def remove_image(layout: Layout, worker: Worker, text: str, *, force: bool) -> Removed:
    """Remove what `text` names.

    A reference is taken away; the image with it if that was its last, and no container is made of it. An id removes the
    image with its reference, with all of several if `force`. What containers are made of stays until they are gone;
    without `force` they are in the way (Conflict).
    """
    with Staging(layout) as staging:
        trash = new_trash(staging)
        with layout.collecting():
            images, references, kept = _targets(layout, text)
            last = not kept
            if last and not force:
                _check_unused(layout, text, images)
            if len(references) > 1 and not force:
                names = ", ".join(reference.familiar for reference in references)
                raise Conflict(
                    "remove the image", text, f"it has several names: {names}", "remove them by name, or use --force"
                )
            for reference in references:
                remove_reference(layout, reference)
            removed = _drop_unused(layout, images) if last else []
            candidates = dict.fromkeys(thing for image in removed for thing in things_of(image))
            swept = sweep(layout, trash, candidates, needed_things(layout, living_pins(layout)))
        rewrite_index(staging)
        size = empty_trash(worker, trash)
    return Removed(
        untagged=tuple(reference.familiar for reference in references),
        images=tuple(dict.fromkeys(image.id for image in removed)),
        layers=tuple(thing.partition("/")[2] for thing in swept if thing.startswith("layers/")),
        size=size,
    )


def _targets(layout: Layout, text: str) -> tuple[list[ImageRecord], list[Reference], list[Reference]]:
    """Return the images that are meant, their references that are to go, and those that stay."""
    image = find_image(layout, text)
    named = _named_reference(layout, text)
    if named is None:
        images = [other for other in list_images(layout) if other.id == image.id]
        return images, _references_of(layout, images), []
    return [image], [named], [other for other in _references_of(layout, [image]) if other != named]


def _named_reference(layout: Layout, text: str) -> Reference | None:
    try:
        reference = parse_reference(text).tagged()
    except InvalidInput:
        return None
    if reference.tag is None or read_reference(layout, reference) is None:
        return None
    return Reference(reference.registry, reference.repository, reference.tag)


def _references_of(layout: Layout, images: list[ImageRecord]) -> list[Reference]:
    manifests = {image.manifest for image in images}
    return [reference for reference, digest in list_references(layout) if digest in manifests]


def _check_unused(layout: Layout, text: str, images: list[ImageRecord]) -> None:
    users = _users(layout, {image.manifest for image in images})
    if users:
        names = ", ".join(container.name for container in users)
        raise Conflict(
            "remove the image", text, f"containers are made of it: {names}", "lamina rm them first, or use --force"
        )


def _users(layout: Layout, manifests: set[BlobDigest]) -> list[ContainerRecord]:
    return [container for container in list_containers(layout) if container.image in manifests]


def _drop_unused(layout: Layout, images: list[ImageRecord]) -> list[ImageRecord]:
    used = {container.image for container in list_containers(layout)}
    dropped = [image for image in images if image.manifest not in used]
    for image in dropped:
        drop_image(layout, image)
    return dropped
