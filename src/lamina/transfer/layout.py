"""OCI image layouts (image-spec image-layout.md) as a source: a directory, or the members of an archive."""

from __future__ import annotations

import os
from collections.abc import Callable

from lamina.errors import InvalidInput, NotFound
from lamina.oci.descriptor import Descriptor
from lamina.oci.document import MAX_DOCUMENT, Fields, parse_json
from lamina.oci.index import CONTAINERD_NAME, REF_NAME, parse_index
from lamina.oci.reference import Reference, parse_name
from lamina.transfer.content import Blob, Found, document_of
from lamina.transfer.section import Section, whole_file

#: Finds a file of a layout by its name in it; None where there is none.
Files = Callable[[str], Section | None]


def directory_files(path: str) -> Files:
    """Return how files are found in the directory `path`."""

    def find(name: str) -> Section | None:
        try:
            return whole_file(f"{path}/{name}")
        except (FileNotFoundError, NotADirectoryError):
            return None

    return find


class LayoutSource:
    """An image layout. `what` names it in errors."""

    def __init__(self, files: Files, what: str) -> None:
        self._files = files
        self._what = what
        self._check_version()
        index = files("index.json")
        if index is None:
            raise InvalidInput("read the images of", what, "it has no index.json")
        self._index = parse_index(index.read(MAX_DOCUMENT, f"index.json of {what}"), f"index.json of {what}")

    def _check_version(self) -> None:
        marker = self._files("oci-layout")
        if marker is None:
            raise InvalidInput("read the images of", self._what, "it has no file oci-layout")
        what = f"oci-layout of {self._what}"
        version = Fields(parse_json(marker.read(MAX_DOCUMENT, what), what), what).needed_text("imageLayoutVersion")
        if version.partition(".")[0] != "1":
            raise InvalidInput("read the images of", self._what, f"its layout has version {version}")

    def images(self) -> list[Found]:
        """Return the images that the layout's index lists, in its order, each once with all its names."""
        found: dict[str, Found] = {}
        for descriptor in self._index.manifests:
            known = found.get(descriptor.digest)
            name = name_of(descriptor)
            names = (*(known.names if known else ()), *((name,) if name else ()))
            found[descriptor.digest] = Found(descriptor, names)
        return list(found.values())

    def find(self, name: str) -> Found:
        """Return the image that the layout calls `name`, or its only one if that is ""; NotFound otherwise."""
        listed = self._index.manifests
        if not name and len({descriptor.digest for descriptor in listed}) != 1:
            names = ", ".join(filter(None, (d.annotations.get(REF_NAME, "") for d in listed))) or "none has a name"
            raise NotFound("find an image in", self._what, f"it has {len(listed)} ({names})", "add :NAME to say which")
        for descriptor in listed:
            known = (descriptor.annotations.get(REF_NAME), descriptor.annotations.get(CONTAINERD_NAME))
            named = name_of(descriptor)
            if not name or name in (*known, descriptor.digest) or (named and named == _as_name(name)):
                return Found(descriptor, (named,) if named else ())
        raise NotFound("find the image", name, f"{self._what} has none of this name")

    def document(self, descriptor: Descriptor) -> bytes:
        """Return a manifest, index or config."""
        return document_of(self._section(descriptor), descriptor, f"{descriptor.digest} of {self._what}")

    def blob(self, descriptor: Descriptor) -> Blob:
        """Return a blob as a section; NotFound where the layout does not have it."""
        section = self._section(descriptor)
        if section is None:
            raise NotFound("read", self._what, f"it has no blob {descriptor.digest}")
        return section

    def stop(self) -> None:
        """Nothing waits for anybody here."""

    def _section(self, descriptor: Descriptor) -> Section | None:
        return self._files(blob_path(descriptor))


def blob_path(descriptor: Descriptor) -> str:
    """Return where a blob lies in a layout."""
    return "blobs/" + descriptor.digest.replace(":", "/", 1)


def name_of(descriptor: Descriptor) -> Reference | None:
    """Return the reference that annotations give to an image, or None where they give none that can be one.

    The annotation of the specification may hold anything, often a tag alone; containerd's holds the whole name.
    """
    for key in (CONTAINERD_NAME, REF_NAME):
        text = descriptor.annotations.get(key, "")
        if not text or (key == REF_NAME and not (set(text) & set("/:"))):
            continue
        try:
            return parse_name(text)
        except InvalidInput:
            continue
    return None


def _as_name(text: str) -> Reference | None:
    try:
        return parse_name(text)
    except InvalidInput:
        return None


def is_layout(path: str) -> bool:
    """Tell whether the directory `path` is an image layout."""
    return os.path.exists(f"{path}/oci-layout") and os.path.exists(f"{path}/index.json")
