"""OCI image layouts as a sink: into a directory, or into an archive that is written from front to back.

An archive for docker has docker's manifest.json beside, as docker 25 and later write it: one file that both readers
take. Whoever writes calls `finish`; an archive without its end, and a layout without an index, is what a failure leaves
of what was to be made.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from lamina.errors import InvalidInput, Unsupported
from lamina.oci.descriptor import INDEX_TYPES, Descriptor
from lamina.oci.document import MAX_DOCUMENT, encode_json
from lamina.oci.index import CONTAINERD_NAME, REF_NAME, make_index, parse_index
from lamina.oci.manifest import parse_manifest
from lamina.oci.reference import Reference
from lamina.store.files import read_if_present, sync_directory
from lamina.tar import entry as kinds
from lamina.tar import write as tarwrite
from lamina.tar.entry import Entry
from lamina.tar.header import padding
from lamina.transfer.content import Blob, Bytes, verified
from lamina.transfer.layout import blob_path

_MARKER = b'{"imageLayoutVersion":"1.0.0"}'


class Writer(Protocol):
    """Files by name, written once each."""

    def has(self, name: str) -> bool: ...

    def write(self, name: str, size: int, pieces: Iterable[bytes]) -> None: ...


class DirectoryWriter:
    """Files of a directory, which is made; each appears under its name when it is whole."""

    def __init__(self, path: str) -> None:
        self.path = path
        try:
            os.makedirs(f"{path}/blobs/sha256", exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise InvalidInput("write the layout", path, "it is a file") from error

    def has(self, name: str) -> bool:
        """Tell whether the file is there."""
        return os.path.exists(f"{self.path}/{name}")

    def write(self, name: str, size: int, pieces: Iterable[bytes]) -> None:
        """Write a file, in place of one that is there."""
        target = f"{self.path}/{name}"
        temporary = f"{target}.{os.urandom(6).hex()}"
        os.makedirs(os.path.dirname(target), exist_ok=True)
        try:
            with open(temporary, "xb") as file:
                for piece in pieces:
                    file.write(piece)
                file.flush()
                os.fsync(file.fileno())
            os.rename(temporary, target)
        except BaseException:
            if os.path.exists(temporary):
                os.unlink(temporary)
            raise
        sync_directory(os.path.dirname(target))


class ArchiveWriter:
    """Members of a tar archive that goes to a descriptor, which stays the caller's. One thread only."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._names: set[str] = set()

    def has(self, name: str) -> bool:
        """Tell whether the member was written."""
        return name in self._names

    def write(self, name: str, size: int, pieces: Iterable[bytes]) -> None:
        """Write a member of exactly `size` bytes."""
        # Readers that make up a missing directory give it to root, which an ordinary user's may not.
        for end in (at for at, character in enumerate(name) if character == "/"):
            self._directory(name[: end + 1])
        entry = Entry(name.encode(), kinds.FILE)
        entry.mode = 0o644
        entry.size = size
        self._put(tarwrite.header(entry))
        for piece in pieces:
            self._put(piece)
        self._put(bytes(padding(size)))
        self._names.add(name)

    def _directory(self, name: str) -> None:
        if name not in self._names:
            entry = Entry(name.encode(), kinds.DIRECTORY)
            entry.mode = 0o755
            self._put(tarwrite.header(entry))
            self._names.add(name)

    def end(self) -> None:
        """Write the end of the archive."""
        self._put(tarwrite.END)

    def _put(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]


class LayoutSink:
    """A layout that is written through `writer`.

    `listed` are descriptors that its index keeps, but for those whose names are given away. `label` is the name that
    the index has for what is put, in place of references. With `docker`, manifest.json is written, too.
    """

    def __init__(
        self, writer: Writer, *, listed: Sequence[Descriptor] = (), label: str = "", docker: bool = False
    ) -> None:
        self._writer = writer
        self._listed = list(listed)
        self._label = label
        self._docker: list[dict[str, object]] | None = [] if docker else None
        self._write_document("oci-layout", _MARKER)

    def has(self, descriptor: Descriptor) -> bool:
        """Tell whether the blob is there."""
        return self._writer.has(blob_path(descriptor))

    def put_blob(self, descriptor: Descriptor, blob: Blob) -> None:
        """Write a blob, checked on its way."""
        self._writer.write(blob_path(descriptor), descriptor.size, verified(blob, descriptor))

    def put_manifest(self, descriptor: Descriptor, data: bytes, names: Sequence[Reference] | None) -> None:
        """Write a manifest or index, and list it under `names` unless they are None."""
        if not self.has(descriptor):
            self.put_blob(descriptor, Bytes(data))
        if names is None:
            return
        plain = Descriptor(descriptor.media_type, descriptor.digest, descriptor.size, platform=descriptor.platform)
        for noted in self._annotations(names):
            self._list(plain, noted)
        if self._docker is not None:
            self._docker.append(_docker_entry(descriptor, data, names))

    def finish(self) -> None:
        """Write what makes a layout of it."""
        if self._docker is not None:
            self._write_document("manifest.json", encode_json(self._docker))
        self._write_document("index.json", make_index(self._listed).raw)

    def _annotations(self, names: Sequence[Reference]) -> Iterator[dict[str, str]]:
        if self._label:
            yield {REF_NAME: self._label}
        elif not names:
            yield {}
        else:
            for name in names:
                yield {REF_NAME: name.tag or "", CONTAINERD_NAME: str(name)}

    def _list(self, descriptor: Descriptor, annotations: dict[str, str]) -> None:
        entry = Descriptor(
            descriptor.media_type, descriptor.digest, descriptor.size, annotations, platform=descriptor.platform
        )
        same_name = [
            other
            for other in self._listed
            if _names(other) == _names(entry) and (any(_names(entry)) or other.digest == entry.digest)
        ]
        self._listed = [other for other in self._listed if other not in same_name]
        self._listed.append(entry)

    def _write_document(self, name: str, data: bytes) -> None:
        self._writer.write(name, len(data), (data,))


def open_directory_sink(path: str, label: str = "") -> LayoutSink:
    """Return a sink for the layout in the directory `path`; what it has stays."""
    existing = read_if_present(f"{path}/index.json")
    if existing is None and os.path.isdir(path) and set(os.listdir(path)) - {"blobs", "oci-layout"}:
        raise InvalidInput("write the layout", path, "the directory has other files in it")
    what = f"index.json of {path}"
    listed = parse_index(existing[: MAX_DOCUMENT + 1], what).manifests if existing is not None else ()
    return LayoutSink(DirectoryWriter(path), listed=listed, label=label)


def _names(descriptor: Descriptor) -> tuple[str, str]:
    return descriptor.annotations.get(REF_NAME, ""), descriptor.annotations.get(CONTAINERD_NAME, "")


def _docker_entry(descriptor: Descriptor, data: bytes, names: Sequence[Reference]) -> dict[str, object]:
    if descriptor.media_type in INDEX_TYPES:
        raise Unsupported("write", "a docker archive", "it cannot hold an index", "--platform chooses one image of it")
    manifest = parse_manifest(data)
    return {
        "Config": blob_path(manifest.config),
        "RepoTags": [name.familiar for name in names],
        "Layers": [blob_path(layer) for layer in manifest.layers],
    }
