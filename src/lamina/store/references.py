"""References: `refs/REGISTRY/REPOSITORY/.../:TAG`, plain files that hold the digest of a manifest.

They are the truth about names. `index.json` shows them to other programs and is made from them.
"""

from __future__ import annotations

import os

from lamina.errors import InvalidInput, StoreError
from lamina.oci.digest import BlobDigest, parse_digest
from lamina.oci.reference import Reference
from lamina.store.files import read_if_present, remove_empty_parents, sync_directory, walk_files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lamina.store.layout import Layout
    from lamina.store.staging import Staging


def reference_thing(reference: Reference) -> str:
    """Return where a reference with a tag is below the store's root."""
    # No component of a repository can begin with a colon, so a tag is never in the way of a repository.
    return f"refs/{reference.registry}/{reference.repository}/:{reference.tag}"


def read_reference(layout: Layout, reference: Reference) -> BlobDigest | None:
    """Return the digest of the manifest that a reference with a tag names, or None if the store does not have it."""
    path = layout.path(reference_thing(reference))
    data = read_if_present(path)
    return None if data is None else _digest(path, data)


def write_reference(staging: Staging, reference: Reference, digest: BlobDigest) -> None:
    """Let `reference` name the image `digest` from now on. The caller holds `layout.publishing()`."""
    staging.publish_file(reference_thing(reference), f"{digest}\n".encode("ascii"))


def remove_reference(layout: Layout, reference: Reference) -> None:
    """Take the reference away; nothing where there is none. The caller holds `layout.publishing()` or more."""
    path = layout.path(reference_thing(reference))
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
    sync_directory(os.path.dirname(path))
    remove_empty_parents(path, up_to=layout.path("refs"))


def list_references(layout: Layout) -> list[tuple[Reference, BlobDigest]]:
    """Return all references with what they name, sorted. One that is taken away meanwhile is left out."""
    top = layout.path("refs")
    found = []
    for path in walk_files(top):
        data = read_if_present(path)
        if data is not None:
            found.append((_reference(path, path[len(top) + 1 :]), _digest(path, data)))
    return found


def damaged_references(layout: Layout) -> list[tuple[str, str]]:
    """Return the files below `refs/` that are no references, each with the reason; they are below the store's root."""
    top = layout.path("refs")
    found = []
    for path in walk_files(top):
        try:
            _reference(path, path[len(top) + 1 :])
            _digest(path, read_if_present(path) or b"")
        except StoreError as error:
            found.append((path[len(layout.root) + 1 :], error.reason))
    return found


def _reference(path: str, name: str) -> Reference:
    parts = name.split("/")
    if len(parts) < 3 or not parts[-1].startswith(":"):
        raise StoreError("read the reference", path, "it is not REGISTRY/REPOSITORY/:TAG")
    return Reference(parts[0], "/".join(parts[1:-1]), parts[-1][1:])


def _digest(path: str, data: bytes) -> BlobDigest:
    try:
        return parse_digest(os.fsdecode(data).strip())
    except InvalidInput as error:
        raise StoreError("read the reference", path, error.reason) from error
