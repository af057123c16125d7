"""A container over this machine's root as an image that needs no machine: all that the container sees, as one layer.

The container's own mounts decide what that is, so a tar(1) that runs in it reads it.
"""

from __future__ import annotations

import os
import shlex
from dataclasses import replace
from typing import BinaryIO

from lamina.api.container import Container
from lamina.api.running import start
from lamina.api.surroundings import now
from lamina.errors import InvalidInput, LaminaError
from lamina.events import Event, OnEvent
from lamina.ids.worker import Fd
from lamina.oci.config import HOST_LABEL, ImageConfig, Settings, with_layer
from lamina.oci.reference import Reference
from lamina.runtime.run import Streams
from lamina.runtime.spec import RunOptions
from lamina.store import making
from lamina.store.containers import read_state, write_state
from lamina.store.images import ImageRecord
from lamina.store.publish import publish_image, tar_descriptor
from lamina.store.staging import Staging

# The container's own: what a run mounts there belongs to no image.
_LEFT_OUT = ("proc/*", "sys/*", "dev/*", "run/lamina", "etc/resolv.conf", "etc/hosts", "etc/hostname")

_TAR = ("tar", "--create", "--file=-", "--numeric-owner", "--acls", "--xattrs", "--xattrs-include=*", "--sparse")

# tar's exit status for files that changed while they were read, and for some that it could not read.
_CHANGED, _UNREADABLE = 1, 2


def commit_standalone(
    container: Container,
    reference: Reference | None,
    config: ImageConfig,
    settings: Settings,
    *,
    author: str,
    message: str,
    on_event: OnEvent,
) -> ImageRecord:
    """Publish everything that a container over this machine's root sees as an image of one layer.

    `config` and `settings` are what a commit would build on. What an ordinary user cannot read is left out, and said.
    """
    if not container.record.host:
        raise InvalidInput("commit standalone", container.name, "its image needs no machine: commit it as it is")
    store, layout = container.store, container.store.layout
    labels = {name: value for name, value in settings.labels.items() if name != HOST_LABEL}
    command = shlex.join(container.command)
    with Staging(layout) as staging, open(staging.new_path(), "wb+") as archive:
        _write_archive(container, staging, archive, on_event)
        archive.seek(0)
        layer = making.apply(staging, store.worker, Fd(archive.fileno()), (), on_event=on_event)
        made = with_layer(
            ImageConfig(config.platform),
            layer.diff_id,
            settings=replace(settings, labels=labels),
            created=now(),
            created_by=f"lamina commit --standalone  # {command}",
            author=author,
            comment=message,
        )
        return publish_image(staging, made, (tar_descriptor(layer),), (layer.name,), reference=reference)


def _write_archive(container: Container, staging: Staging, archive: BinaryIO, on_event: OnEvent) -> None:
    argv = [*_TAR, *(f"--exclude=./{name}" for name in _LEFT_OUT), "--directory=/", "."]
    options = RunOptions(entrypoint=[], command=argv, user="0")
    layout, before = staging.layout, read_state(staging.layout, container.id)
    with open(staging.new_path(), "wb+") as said, open(os.devnull, "rb") as nothing:
        streams = Streams(nothing.fileno(), archive.fileno(), said.fileno())
        try:
            status = start(container, options, container.store.worker, streams, throw_away=False, on_event=on_event)
        finally:
            # That was no run of the container's own.
            write_state(layout, container.id, before, durable=True)
        said.seek(0)
        lines = [line for line in said.read().decode("utf-8", "replace").splitlines() if "socket ignored" not in line]
    unreadable = [line for line in lines if "Permission denied" in line]
    tolerated = status == _UNREADABLE and unreadable and layout.ids.kind != "host"
    if status > _CHANGED and not tolerated:
        raise LaminaError("read all that is seen in", container.name, lines[0] if lines else f"tar ended with {status}")
    if unreadable:
        text = f"left out {len(unreadable)} files that you may not read: {unreadable[0]}"
        on_event(Event("commit", container.name, text=text))
