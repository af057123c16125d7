"""Blobs: bytes under their digest in `blobs/ALGORITHM/HEX`. What is there was verified before it came there."""

from __future__ import annotations

import os

from lamina.errors import StoreError
from lamina.oci.digest import BlobDigest, check_digest, digest_of, parse_digest
from lamina.store.files import ensure_directory, read_bytes, sync_directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lamina.store.layout import Layout
    from lamina.store.staging import Staging


def blob_thing(digest: str) -> str:
    """Return where the blob is below the store's root. `digest` is one that was parsed."""
    return "blobs/" + digest.replace(":", "/", 1)


def has_blob(layout: Layout, digest: str) -> bool:
    """Tell whether the store has the blob."""
    return os.path.exists(layout.path(blob_thing(digest)))


def put_document(staging: Staging, data: bytes) -> BlobDigest:
    """Publish `data`, pinned, and return its digest. The caller holds `layout.publishing()`."""
    digest = digest_of(data)
    staging.pin(blob_thing(digest))
    if not has_blob(staging.layout, digest):
        staging.publish_file(blob_thing(digest), data)
    return digest


def publish_blob(staging: Staging, path: str, digest: BlobDigest) -> None:
    """Rename the file `path` of this staging directory to the blob that it was verified to be; it must be on disk.

    The caller holds `layout.publishing()` and has pinned the blob.
    """
    target = staging.layout.path(blob_thing(digest))
    ensure_directory(os.path.dirname(target))
    os.rename(path, target)
    sync_directory(os.path.dirname(target))


def read_document(layout: Layout, digest: str, what: str) -> bytes:
    """Return a manifest or config, which `what` names in errors; StoreError where it is missing or damaged."""
    from lamina.oci.document import MAX_DOCUMENT  # with JSON, which who lists images does not need

    path = layout.path(blob_thing(parse_digest(digest)))
    try:
        if os.stat(path).st_size > MAX_DOCUMENT:
            raise StoreError("read", what, f"the blob {digest} is larger than {MAX_DOCUMENT} bytes")
        data = read_bytes(path)
    except FileNotFoundError as error:
        raise StoreError("read", what, f"the blob {digest} is missing from {layout.root}") from error
    check_digest(data, BlobDigest(digest), what)
    return data
