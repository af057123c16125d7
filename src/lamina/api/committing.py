"""What a container changed: as a list, and as the layer of a new image."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable
from dataclasses import replace

from lamina.api.container import Container
from lamina.api.image import Image
from lamina.api.running import image_record_of
from lamina.api.standalone import commit_standalone
from lamina.api.surroundings import now
from lamina.events import Event, OnEvent
from lamina.layer import jobs
from lamina.oci.changes import apply_changes
from lamina.oci.config import HOST_LABEL, Settings, with_layer
from lamina.oci.reference import parse_name
from lamina.store import making
from lamina.store.containers import hold_container, ignored_paths, uppers_of
from lamina.store.images import ImageRecord
from lamina.store.layers import tree_path
from lamina.store.publish import check_name, publish_image, read_manifest, tar_descriptor
from lamina.store.staging import Staging


def list_changes(container: Container) -> list[tuple[str, str]]:
    """Return kind and path of everything that a container changed."""
    layout, record = container.store.layout, container.record
    below = [tree_path(layout, name) for name in record.layers]
    changes = container.store.worker.call(
        jobs.list_changes,
        uppers=[list(upper) for upper in uppers_of(layout, record.id)],
        below=["/", *below] if record.host else below,
        ignore=ignored_paths(layout, record.id),
    )
    return [(kind, path) for kind, path in changes]


def commit(
    container: Container,
    name: str | None,
    *,
    changes: Iterable[str],
    author: str,
    message: str,
    standalone: bool,
    on_event: OnEvent,
) -> Image:
    """Make an image of a container; `Container.commit` says what the arguments mean."""
    store, record = container.store, container.record
    layout = store.layout
    reference = parse_name(name) if name else None
    if reference is not None:
        check_name(reference)
    base = image_record_of(store, record)
    config = container.image.config
    settings = _settings(config.settings, changes, base)
    if standalone:
        image = commit_standalone(
            container, reference, config, settings, author=author, message=message, on_event=on_event
        )
        return Image(store, image, name=name or "")
    if layout.single_id:
        text = "one id is all there is: what the command gave to other users belongs to root in this layer"
        on_event(Event("commit", name or record.name, text=text))
    # Held, so that nothing runs and writes while the upper is read.
    held = hold_container(layout, record)
    try:
        with Staging(layout) as staging:
            layer = making.capture(
                staging,
                store.worker,
                uppers_of(layout, record.id),
                record.layers,
                over_host=record.host,
                ignore=ignored_paths(layout, record.id),
                on_event=on_event,
            )
            created_by = shlex.join(container.command)
            config = with_layer(
                config,
                layer.diff_id,
                settings=settings,
                created=now(),
                created_by=created_by,
                author=author,
                comment=message,
            )
            below = read_manifest(layout, record.image).layers if record.image else ()
            layers = (*below, tar_descriptor(layer))
            names = [*record.layers, layer.name]
            image = publish_image(staging, config, layers, names, reference=reference)
    finally:
        os.close(held)
    return Image(store, image, name=name or "")


def _settings(settings: Settings, changes: Iterable[str], base: ImageRecord) -> Settings:
    settings = apply_changes(settings, changes)
    if not base.host:
        return settings
    # Whatever the changes say: a layer over this machine's root is of no use, and may be harmful, over another.
    return replace(settings, labels={**settings.labels, HOST_LABEL: base.host})
