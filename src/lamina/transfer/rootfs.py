"""Import: a root file system, as archive, directory or stream, becomes an image of one layer."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Iterable
from typing import TYPE_CHECKING, BinaryIO

from lamina.errors import InvalidInput, NotFound
from lamina.events import OnEvent
from lamina.ids.worker import Fd
from lamina.oci.changes import apply_changes
from lamina.oci.config import ImageConfig, Settings, with_layer
from lamina.oci.platform import platform_of
from lamina.oci.reference import Reference, parse_name
from lamina.store import making
from lamina.store.images import ImageRecord
from lamina.store.layers import LayerRecord
from lamina.store.layout import Layout
from lamina.store.publish import check_name, publish_image, tar_descriptor
from lamina.store.staging import Staging

if TYPE_CHECKING:
    from lamina.ids.worker import Worker

#: What a base image without a config of its own starts with.
DEFAULT_SETTINGS = Settings(
    env=("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",), cmd=("/bin/sh",)
)


def import_rootfs(
    layout: Layout,
    worker: Worker,
    source: str | os.PathLike[str] | BinaryIO,
    name: str | None,
    *,
    changes: Iterable[str],
    message: str,
    created: int,
    on_event: OnEvent,
) -> ImageRecord:
    """Make an image of the root file system `source`: a directory, an archive, or a binary file to read one from.

    Everything that can be wrong with the name and the changes is found before anything is read.
    """
    reference, settings = checked(name, changes)
    with Staging(layout) as staging:
        if isinstance(source, str | os.PathLike):
            layer, said = _from_path(staging, worker, os.path.abspath(source), on_event)
        else:
            fd = _descriptor_of(source, staging)
            try:
                layer, said = _apply(staging, worker, fd, _name_of(source), on_event), "-"
            finally:
                os.close(fd)
        return publish_base(
            staging, layer, reference, settings, created=created, created_by=f"lamina import {said}", comment=message
        )


def checked(name: str | None, changes: Iterable[str]) -> tuple[Reference | None, Settings]:
    """Return the reference and the settings of a new base image; InvalidInput where they cannot be."""
    reference = parse_name(name) if name else None
    if reference is not None:
        check_name(reference)
    return reference, apply_changes(DEFAULT_SETTINGS, changes)


def publish_base(
    staging: Staging,
    layer: LayerRecord,
    reference: Reference | None,
    settings: Settings,
    *,
    created: int,
    created_by: str,
    comment: str,
) -> ImageRecord:
    """Publish an image of one layer for this machine's platform."""
    config = with_layer(
        ImageConfig(platform_of(os.uname().machine)),
        layer.diff_id,
        settings=settings,
        created=created,
        created_by=created_by,
        comment=comment,
    )
    return publish_image(staging, config, (tar_descriptor(layer),), (layer.name,), reference=reference)


def _from_path(staging: Staging, worker: Worker, path: str, on_event: OnEvent) -> tuple[LayerRecord, str]:
    said = os.path.basename(path) or path
    try:
        # O_NONBLOCK: opening a FIFO that nobody writes to would wait for ever.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError as error:
        raise NotFound("import", path, "no such file or directory") from error
    except OSError as error:
        if error.errno in (errno.EACCES, errno.ENOTDIR, errno.ELOOP, errno.ENXIO):
            raise InvalidInput("import", path, error) from error
        raise
    try:
        mode = os.fstat(fd).st_mode
        if stat.S_ISDIR(mode):
            return making.apply_directory(staging, worker, path, on_event=on_event), said
        if not stat.S_ISREG(mode) and not stat.S_ISFIFO(mode) and not stat.S_ISBLK(mode):
            raise InvalidInput("import", path, "it is neither a directory nor an archive")
        os.set_blocking(fd, True)
        _check_not_empty(path, fd)
        return _apply(staging, worker, fd, path, on_event), said
    finally:
        os.close(fd)


def _apply(staging: Staging, worker: Worker, fd: int, name: str, on_event: OnEvent) -> LayerRecord:
    try:
        return making.apply(staging, worker, Fd(fd), (), on_event=on_event)
    except InvalidInput as error:
        # Whoever reads the archive knows its entries, and not what it is called.
        where = f"{error.subject}: " if error.subject else ""
        raise InvalidInput("import", name, f"{where}{error.reason}", error.hint) from error


def _name_of(source: BinaryIO) -> str:
    name = getattr(source, "name", None)
    return "standard input" if name == "<stdin>" else name if isinstance(name, str) else "the stream"


def _check_not_empty(path: str, fd: int) -> None:
    if stat.S_ISREG(os.fstat(fd).st_mode) and os.fstat(fd).st_size == 0:
        raise InvalidInput("import", path, "the file is empty")


def _descriptor_of(source: BinaryIO, staging: Staging) -> int:
    """Return a descriptor of the caller's own from which the rest of `source` can be read."""
    try:
        return os.dup(source.fileno())
    except OSError:  # io.UnsupportedOperation: an object without a file behind it
        path = staging.new_path()
        with open(path, "wb+") as copy:
            shutil.copyfileobj(source, copy, 1 << 20)
            copy.seek(0)
            os.unlink(path)
            return os.dup(copy.fileno())
