"""Records made anew from the documents that they repeat: of images, and of indexes and artifacts."""

from __future__ import annotations

import os

from lamina.errors import StoreError
from lamina.oci.descriptor import INDEX_TYPES, Descriptor
from lamina.oci.digest import BlobDigest, ChainId, DiffId, chain_ids, hex_of, parse_digest
from lamina.oci.document import Fields, parse_json
from lamina.oci.index import parse_index
from lamina.oci.manifest import parse_any_manifest
from lamina.store.blobs import read_document
from lamina.store.bundles import BundleRecord
from lamina.store.images import ImageRecord, read_image
from lamina.store.layout import Layout
from lamina.store.publish import image_record, read_config, read_manifest


def remake_image(layout: Layout, digest: str) -> ImageRecord:
    """Return the record of the image whose manifest has this digest; StoreError where a part of it is missing."""
    manifest = read_manifest(layout, digest)
    config = read_config(layout, manifest.config.digest)
    parts = zip(config.diff_ids, chain_ids(config.diff_ids), strict=True)
    return image_record(manifest, config, [_layer_name(layout, *part) for part in parts])


def _layer_name(layout: Layout, diff_id: DiffId, chain: ChainId) -> str:
    for name in (f"diff-{hex_of(diff_id)}", f"chain-{hex_of(chain)}"):
        if os.path.exists(layout.path("layers", name)):
            return name
    raise StoreError("read the layer", diff_id, f"it is missing from {layout.root}")


def remake_bundle(layout: Layout, digest: str) -> BundleRecord:
    """Return the record of the index or artifact with this digest, as far as the store has what belongs to it."""
    raw = read_document(layout, digest, f"the document {digest}")
    what = f"the document {digest}"
    if not Fields(parse_json(raw, what), what).has("manifests"):
        manifest = parse_any_manifest(raw, what)
        blobs = [part.digest for part in (manifest.config, *manifest.layers)]
        return BundleRecord(
            parse_digest(digest), manifest.media_type, kind=manifest.kind, images=[], blobs=list(dict.fromkeys(blobs))
        )
    index = parse_index(raw, what)
    images: list[tuple[BlobDigest, str]] = []
    others: list[str] = []
    for child in index.manifests:
        _add_child(layout, child, images, others)
    return BundleRecord(
        parse_digest(digest), index.media_type, kind="", images=images, blobs=list(dict.fromkeys(others))
    )


def _add_child(layout: Layout, child: Descriptor, images: list[tuple[BlobDigest, str]], others: list[str]) -> None:
    data = read_document(layout, child.digest, f"the document {child.digest}")
    what = f"the document {child.digest}"
    if child.media_type in INDEX_TYPES:
        others.append(child.digest)
        for grandchild in parse_index(data, what).manifests:
            _add_child(layout, grandchild, images, others)
        return
    manifest = parse_any_manifest(data, what)
    if manifest.is_image:
        image = None if child.platform else read_image(layout, child.digest)
        images.append((child.digest, str(child.platform) if child.platform else image.platform if image else ""))
    else:
        others += [child.digest, *(part.digest for part in (manifest.config, *manifest.layers))]
