"""Between the API and `lamina.transfer`: names become images and references, records become `Image`s."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import BinaryIO

from lamina.api.image import Image
from lamina.api.store import Store
from lamina.errors import InvalidInput
from lamina.events import OnEvent
from lamina.oci.platform import Platform, parse_platform, platform_of
from lamina.oci.reference import Reference, parse_reference
from lamina.store.images import ImageRecord
from lamina.store.references import list_references, read_reference
from lamina.transfer.load import load_images
from lamina.transfer.save import save_images

# All of these use `store.launcher`: their jobs run side by side, in processes of their own.


def load(store: Store, source: str | os.PathLike[str] | BinaryIO, platform: str, on_event: OnEvent) -> list[Image]:
    """Take in images; `Store.load` says what the arguments mean."""
    loaded = load_images(store.layout, store.launcher, source, platform=wanted(platform), on_event=on_event)
    return [Image(store, record, name=names[0].familiar if names else "") for record, names in loaded]


def save(
    store: Store,
    images: Iterable[Image | str],
    target: str | os.PathLike[str] | BinaryIO,
    *,
    format: str,  # noqa: A002  # everybody's word for it
    compression: str,
    on_event: OnEvent,
) -> None:
    """Write images; `Store.save` says what the arguments mean."""
    chosen: dict[str, tuple[ImageRecord, list[Reference]]] = {}
    for image in images:
        record = store.find(image)
        _, names = chosen.setdefault(record.manifest, (record, []))
        names += [name for name in _names_of(store, record, image) if name not in names]
    save_images(
        store.layout,
        store.launcher,
        list(chosen.values()),
        target,
        format=format,
        compression=compression,
        on_event=on_event,
    )


def wanted(platform: str) -> Platform:
    """Return the platform that `platform` names, or this machine's for ""."""
    return parse_platform(platform) if platform else platform_of(os.uname().machine)


def _names_of(store: Store, record: ImageRecord, image: Image | str) -> list[Reference]:
    """Return the name that an image was given by; all of its names where that was an id or an `Image`."""
    if isinstance(image, str):
        named = reference_of(store, image)
        if named is not None:
            return [named]
    return [name for name, digest in list_references(store.layout) if digest == record.manifest]


def reference_of(store: Store, text: str) -> Reference | None:
    """Return the reference of the store that `text` is, None where it is none (but may be an id)."""
    try:
        reference = parse_reference(text).tagged()
    except InvalidInput:
        return None
    if reference.tag is None or read_reference(store.layout, reference) is None:
        return None
    return Reference(reference.registry, reference.repository, reference.tag)
