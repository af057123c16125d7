"""index.json: the references as other programs look for them in an OCI image layout."""

from __future__ import annotations

import os

from lamina.oci.descriptor import Descriptor
from lamina.oci.index import CONTAINERD_NAME, REF_NAME, make_index
from lamina.store.blobs import blob_thing
from lamina.store.bundles import read_bundle
from lamina.store.images import read_image
from lamina.store.layout import Layout
from lamina.store.references import list_references
from lamina.store.staging import Staging


def rewrite_index(staging: Staging) -> None:
    """Make index.json show the references as they are.

    Called after every change of references. Of two processes that do so at once the later one sees both changes: the
    references are read under the lock.
    """
    layout = staging.layout
    with layout.indexing():
        staging.publish_file("index.json", make_index(index_descriptors(layout)).raw)


def index_descriptors(layout: Layout) -> list[Descriptor]:
    """Return what the index lists: a manifest or index for each reference."""
    descriptors = []
    for reference, digest in list_references(layout):
        found = read_image(layout, digest) or read_bundle(layout, digest)
        if found is None:  # removed since the reference was read; its remover rewrites the index after us
            continue
        annotations = {REF_NAME: reference.tag or "", CONTAINERD_NAME: str(reference)}
        try:
            size = os.stat(layout.path(blob_thing(digest))).st_size
        except FileNotFoundError:  # a damaged store, as its check tells: what is whole is still shown
            continue
        descriptors.append(Descriptor(found.media_type, digest, size, annotations))
    return descriptors
