"""Removing images by name, with docker's rules of what is in the way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lamina.errors import Conflict, InvalidInput
from lamina.oci.digest import BlobDigest
from lamina.oci.reference import Reference, parse_reference
from lamina.store.bundles import (
    BundleRecord,
    bundle_thing,
    holders,
    images_of,
    list_bundles,
    names_of_images,
    read_bundle,
    things_of_bundle,
)
from lamina.store.collect import drop_record, empty_trash, living_pins, needed_things, new_trash, sweep
from lamina.store.containers import ContainerRecord, list_containers
from lamina.store.images import ImageRecord, find_image, image_thing, list_images, read_image
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


@dataclass(frozen=True, slots=True)
class _Targets:
    """What a text means: images, bundles with all of theirs, references that are to go, and such that stay."""

    images: list[ImageRecord]
    bundles: list[BundleRecord]
    references: list[Reference]
    kept: list[Reference]


def remove_image(layout: Layout, worker: Worker, text: str, *, force: bool) -> Removed:
    """Remove what `text` names.

    A reference is taken away; with its last one goes the image, or index with its images, if no container is made of
    it. An id removes the image with its reference, with all of several, and with the index that it is part of, if
    `force`. What containers are made of stays until they are gone; without `force` they are in the way (Conflict).
    """
    with Staging(layout) as staging:
        trash = new_trash(staging)
        with layout.collecting():
            targets = _targets(layout, text)
            last = not targets.kept
            if not force:
                _check_free(layout, text, targets)
            for reference in targets.references:
                remove_reference(layout, reference)
            bundles, images = _drop_unused(layout, targets) if last else ([], [])
            candidates = dict.fromkeys(thing for image in images for thing in things_of(image))
            candidates.update(dict.fromkeys(thing for bundle in bundles for thing in things_of_bundle(bundle)))
            swept = sweep(layout, trash, candidates, needed_things(layout, living_pins(layout)))
        rewrite_index(staging)
        size = empty_trash(worker, trash)
    return Removed(
        untagged=tuple(reference.familiar for reference in targets.references),
        images=tuple(dict.fromkeys([*(bundle.digest for bundle in bundles), *(image.id for image in images)])),
        layers=tuple(thing.partition("/")[2] for thing in swept if thing.startswith("layers/")),
        size=size,
    )


def _targets(layout: Layout, text: str) -> _Targets:
    named = _named_reference(layout, text)
    if named is None:
        return _targets_of_id(layout, find_image(layout, text))
    digest = read_reference(layout, named)
    others = [other for other, its in list_references(layout) if its == digest and other != named]
    bundle = read_bundle(layout, digest or "")
    if bundle is None:
        image = find_image(layout, text)
        its_indexes = holders(layout, [image.manifest])
        return _Targets([image], [], [named], [*others, *_references_of(layout, {it.digest for it in its_indexes})])
    return _Targets(images_of(layout, bundle), [bundle], [named], others)


def _targets_of_id(layout: Layout, image: ImageRecord) -> _Targets:
    images = [other for other in list_images(layout) if other.id == image.id]
    bundles = holders(layout, [other.manifest for other in images])
    digests = {other.manifest for other in images} | {bundle.digest for bundle in bundles}
    more = {manifest for bundle in bundles for manifest, _ in bundle.images} - digests
    siblings = [read_image(layout, manifest) for manifest in sorted(more)]
    return _Targets([*images, *(it for it in siblings if it is not None)], bundles, _references_of(layout, digests), [])


def _named_reference(layout: Layout, text: str) -> Reference | None:
    try:
        reference = parse_reference(text).tagged()
    except InvalidInput:
        return None
    if reference.tag is None or read_reference(layout, reference) is None:
        return None
    return Reference(reference.registry, reference.repository, reference.tag)


def _references_of(layout: Layout, digests: set[BlobDigest]) -> list[Reference]:
    return [reference for reference, digest in list_references(layout) if digest in digests]


def _check_free(layout: Layout, text: str, targets: _Targets) -> None:
    """Refuse where containers are in the way, or other names than the one that was given."""
    if not targets.kept:
        _check_unused(layout, text, targets.images)
    names = ", ".join(reference.familiar for reference in targets.references)
    if len(targets.references) > 1:
        raise Conflict(
            "remove the image", text, f"it has several names: {names}", "remove them by name, or use --force"
        )
    if targets.bundles and _named_reference(layout, text) is None:
        hint = "remove that name, or all of it with --force"
        raise Conflict("remove the image", text, f"it is part of the index {names or 'without a name'}", hint)


def _check_unused(layout: Layout, text: str, images: list[ImageRecord]) -> None:
    users = _users(layout, {image.manifest for image in images})
    if users:
        names = ", ".join(container.name for container in users)
        raise Conflict(
            "remove the image", text, f"containers are made of it: {names}", "lamina rm them first, or use --force"
        )


def _users(layout: Layout, manifests: set[BlobDigest]) -> list[ContainerRecord]:
    return [container for container in list_containers(layout) if container.image in manifests]


def _drop_unused(layout: Layout, targets: _Targets) -> tuple[list[BundleRecord], list[ImageRecord]]:
    """Drop the records that nothing holds any more: bundles first, then images without names, bundles, containers."""
    for bundle in targets.bundles:
        drop_record(layout, bundle_thing(bundle.digest))
    used = {container.image for container in list_containers(layout)}
    named = names_of_images(layout)
    held = {manifest for bundle in list_bundles(layout) for manifest, _ in bundle.images}
    dropped = [image for image in targets.images if image.manifest not in used | held | named.keys()]
    for image in dropped:
        drop_record(layout, image_thing(image.manifest))
    return targets.bundles, dropped
