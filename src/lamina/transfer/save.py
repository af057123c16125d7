"""Save: images of the store go into an archive or a layout directory."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

from lamina.errors import InvalidInput, NotFound
from lamina.events import OnEvent
from lamina.oci.descriptor import Descriptor
from lamina.oci.reference import Reference
from lamina.store.bundles import BundleRecord
from lamina.store.images import ImageRecord
from lamina.store.layout import Layout
from lamina.store.staging import Staging
from lamina.transfer.give import StoreSource
from lamina.transfer.graph import Copier
from lamina.transfer.sink import ArchiveWriter, LayoutSink, open_directory_sink

if TYPE_CHECKING:
    from lamina.ids.worker import Worker

#: What images can be saved as.
FORMATS = ("oci-archive", "docker-archive", "oci-dir")


def save_images(
    layout: Layout,
    worker: Worker,
    images: Sequence[tuple[ImageRecord | BundleRecord, Sequence[Reference]]],
    target: str | os.PathLike[str] | BinaryIO,
    *,
    format: str,  # noqa: A002  # what it is called everywhere
    compression: str,
    on_event: OnEvent,
) -> list[Descriptor]:
    """Write `images` with their names to `target`; an archive appears there when it is whole.

    Indexes and artifacts are written as they are, with all that belongs to them. Returns what was written for each.
    InvalidInput for an image that is bound to this machine.
    """
    with Staging(layout) as staging:
        source = StoreSource(staging, worker, compression=compression, task="save", on_event=on_event)
        manifests = [(source.add_any(image, "save the image"), names) for image, names in images]
        if format == "oci-dir":
            if not isinstance(target, str | os.PathLike):
                raise InvalidInput("save to", "-", "a directory has a name")
            sink = open_directory_sink(os.fspath(target))
            _copy_all(source, sink, manifests, on_event)
            return [manifest for manifest, _ in manifests]
        with new_file(target) as fd:
            writer = ArchiveWriter(fd)
            _copy_all(source, LayoutSink(writer, docker=format == "docker-archive"), manifests, on_event)
            writer.end()
        return [manifest for manifest, _ in manifests]


def _copy_all(
    source: StoreSource,
    sink: LayoutSink,
    manifests: Sequence[tuple[Descriptor, Sequence[Reference]]],
    on_event: OnEvent,
) -> None:
    copier = Copier(source, sink, "save", on_event)
    for descriptor, names in manifests:
        copier.copy(descriptor, names)
    sink.finish()


@contextmanager
def new_file(target: str | os.PathLike[str] | BinaryIO) -> Iterator[int]:
    """Yield a descriptor for what becomes the file `target`, when the block has ended well; or that of a stream."""
    if not isinstance(target, str | os.PathLike):
        target.flush()
        yield target.fileno()
        return
    path = os.path.abspath(target)
    if os.path.isdir(path):
        raise InvalidInput("write", path, "it is a directory")
    if os.path.exists(path) and not stat.S_ISREG(os.stat(path).st_mode):  # a pipe, a device: written as it is
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            yield fd
        finally:
            os.close(fd)
        return
    temporary = f"{path}.{os.urandom(6).hex()}"
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFound("write", path, "there is no such directory") from error
    try:
        yield fd
        os.fsync(fd)
        os.rename(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    finally:
        os.close(fd)
