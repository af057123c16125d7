"""Archives of images, opened: OCI's and docker's, plain or compressed, from files and streams."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, Protocol

from lamina.errors import InvalidInput, NotFound
from lamina.store.staging import Staging
from lamina.tar.compress import Decompressed
from lamina.transfer.content import Found, Source
from lamina.transfer.dockerarchive import DockerArchiveSource
from lamina.transfer.layout import LayoutSource, directory_files, is_layout
from lamina.transfer.members import list_members
from lamina.transfer.oldarchive import is_old_archive


class Images(Source, Protocol):
    """A source that can list its images."""

    def images(self) -> list[Found]: ...


@contextmanager
def open_images(staging: Staging, source: str | os.PathLike[str] | BinaryIO) -> Iterator[Images]:
    """Open an archive, or a layout directory, for a `with` block.

    What cannot be read in any order, a stream or a compressed archive, is first written to a file of the staging
    directory, which has no name there. NotFound, or InvalidInput for what is neither.
    """
    what = os.fspath(source) if isinstance(source, str | os.PathLike) else "-"
    if what != "-" and os.path.isdir(what):
        if not is_layout(what):
            raise InvalidInput("load", what, "it is a directory, but no OCI image layout")
        yield LayoutSource(directory_files(what), what)
        return
    with _seekable(staging, source, what) as fd:
        try:
            images = _of_archive(f"/proc/self/fd/{fd}", what)
        except InvalidInput as error:
            raise InvalidInput("load", what, f"{error.subject}: {error.reason}", error.hint) from error
        yield images


def _of_archive(path: str, what: str) -> Images:
    members = list_members(path)
    # Docker 25 and later write both; the index has the manifests as they were.
    if "oci-layout" in members and "index.json" in members:
        return LayoutSource(members.get, what)
    if "manifest.json" in members or is_old_archive(members):
        return DockerArchiveSource(members, what)
    hint = "lamina import takes the tar of a root file system"
    raise InvalidInput("read", "the archive", "it has neither index.json nor manifest.json: it holds no images", hint)


@contextmanager
def _seekable(staging: Staging, source: str | os.PathLike[str] | BinaryIO, what: str) -> Iterator[int]:
    """Yield a descriptor of a regular file with the uncompressed archive."""
    try:
        if isinstance(source, str | os.PathLike):
            # O_NONBLOCK: opening a FIFO that nobody writes to would wait for ever.
            fd = os.open(source, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            os.set_blocking(fd, True)
        else:
            fd = os.dup(source.fileno())
    except FileNotFoundError as error:
        raise NotFound("load", what, "no such file or directory") from error
    try:
        plain = _is_plain(fd)
        if not plain:
            fd, old = _spooled(staging, fd), fd
            os.close(old)
        yield fd
    finally:
        os.close(fd)


def _is_plain(fd: int) -> bool:
    """Tell whether it is a regular file, read from its beginning, and not compressed."""
    if not stat.S_ISREG(os.fstat(fd).st_mode) or os.lseek(fd, 0, os.SEEK_CUR):
        return False
    plain = Decompressed(fd).compression == "none"
    os.lseek(fd, 0, os.SEEK_SET)
    return plain


def _spooled(staging: Staging, fd: int) -> int:
    path = staging.new_path()
    spool = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.unlink(path)
        stream = Decompressed(fd)
        while piece := stream.read():
            view = memoryview(piece)
            while view:
                view = view[os.write(spool, view) :]
    except BaseException:
        os.close(spool)
        raise
    return spool
