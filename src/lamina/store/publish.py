"""Giving images to the store: manifest, config and record from values, and names for them.

Order: layers are there and pinned; then config and manifest; then the record, which makes it an image; then the
reference; then the view in index.json.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lamina.errors import InvalidInput, StoreError
from lamina.oci.config import HOST_LABEL, ImageConfig, parse_config
from lamina.oci.descriptor import CONFIG, LAYER, Descriptor
from lamina.oci.digest import BlobDigest, ImageId, chain_ids, digest_of, hex_of
from lamina.oci.manifest import Manifest, make_manifest, parse_manifest
from lamina.oci.reference import Reference
from lamina.oci.timestamp import parse_time
from lamina.store.blobs import blob_thing, has_blob, put_document, read_document
from lamina.store.bundles import BundleRecord, bundle_thing, encode_bundle, read_bundle
from lamina.store.images import HOST, ImageRecord, encode_image, image_thing, read_image
from lamina.store.index import rewrite_index
from lamina.store.layers import LayerRecord, read_layer, settle_layers
from lamina.store.layout import Layout
from lamina.store.references import remove_reference, write_reference
from lamina.store.staging import Staging


def read_manifest(layout: Layout, digest: str) -> Manifest:
    """Return the manifest of an image of the store."""
    return parse_manifest(read_document(layout, digest, f"the manifest {digest}"))


def read_config(layout: Layout, image_id: str) -> ImageConfig:
    """Return the config of an image of the store."""
    return parse_config(read_document(layout, image_id, f"the image config {image_id}"))


def tar_descriptor(layer: LayerRecord) -> Descriptor:
    """Return the descriptor of a layer without a blob: of its tar, which is made from tree and framing when needed."""
    return Descriptor(LAYER, BlobDigest(layer.diff_id), layer.size)


def publish_image(
    staging: Staging,
    config: ImageConfig,
    layers: Sequence[Descriptor],
    names: Sequence[str],
    *,
    reference: Reference | None,
    annotations: Mapping[str, str] | None = None,
) -> ImageRecord:
    """Make an image of an encoded `config` and its layers, base first, and let `reference` name it.

    `names` are the layers as they lie in the store, pinned by this staging directory. Publishing the same twice gives
    the same.
    """
    config_descriptor = Descriptor(CONFIG, digest_of(config.raw), len(config.raw))
    manifest = make_manifest(config_descriptor, tuple(layers), annotations or {})
    return publish_documents(staging, manifest, config, names, reference=reference)


def publish_documents(
    staging: Staging, manifest: Manifest, config: ImageConfig, names: Sequence[str], *, reference: Reference | None
) -> ImageRecord:
    """Publish an image whose documents exist as bytes; otherwise as `publish_image`."""
    if not len(names) == len(config.diff_ids) == len(manifest.layers):
        raise InvalidInput(
            "use the image",
            reference or "without a name",
            f"its manifest has {len(manifest.layers)} layers, its config {len(config.diff_ids)}",
        )
    image = image_record(manifest, config, names)
    with staging.layout.publishing():
        _check_pinned(staging.layout, names)
        put_document(staging, config.raw)
        put_document(staging, manifest.raw)
        staging.pin(image_thing(image.manifest))
        staging.publish_file(image_thing(image.manifest), encode_image(image))
        if reference is not None:
            write_reference(staging, reference, image.manifest)
    rewrite_index(staging)
    return image


def publish_bundle(staging: Staging, bundle: BundleRecord, names: Sequence[Reference]) -> None:
    """Publish an index or artifact under `names`; this staging directory has pinned all that belongs to it."""
    with staging.layout.publishing():
        staging.pin(bundle_thing(bundle.digest))
        staging.publish_file(bundle_thing(bundle.digest), encode_bundle(bundle))
        for name in names:
            write_reference(staging, name, bundle.digest)
    rewrite_index(staging)


def _check_pinned(layout: Layout, names: Sequence[str]) -> None:
    for name in names:
        read_layer(layout, name)
    settle_layers(layout, names)


def image_record(manifest: Manifest, config: ImageConfig, names: Sequence[str]) -> ImageRecord:
    """Return the record of an image from its documents."""
    settings = config.settings
    digests = [str(layer.digest) for layer in manifest.layers]
    return ImageRecord(
        manifest=digest_of(manifest.raw),
        media_type=manifest.media_type,
        image_id=ImageId(digest_of(config.raw)),
        created=parse_time(config.created) if config.created else 0,
        platform=str(config.platform),
        layers=list(names),
        blobs=[digest for digest, diff_id in zip(digests, config.diff_ids, strict=True) if digest != diff_id],
        host=settings.labels.get(HOST_LABEL, ""),
        env=list(settings.env),
        entrypoint=list(settings.entrypoint or ()),
        cmd=list(settings.cmd or ()),
        user=settings.user,
        workdir=settings.working_dir,
        volumes=list(settings.volumes),
        stop_signal=settings.stop_signal,
    )


def documents_of(layout: Layout, manifest_digest: str, names: Sequence[str]) -> tuple[Manifest, ImageConfig]:
    """Return manifest and config of the image that is made of the layers `names`; checks that they belong together."""
    manifest = read_manifest(layout, manifest_digest)
    config = read_config(layout, manifest.config.digest)
    chains = chain_ids(config.diff_ids)
    expected = zip(config.diff_ids, chains, names, strict=False)
    known = all(name in (f"diff-{hex_of(diff_id)}", f"chain-{hex_of(chain)}") for diff_id, chain, name in expected)
    if not known or len(names) != len(chains):
        raise StoreError("use the image", manifest_digest, "its record names other layers than its config")
    return manifest, config


def tag_image(staging: Staging, image: ImageRecord | BundleRecord, reference: Reference) -> None:
    """Let `reference` name an image, or a whole index or artifact, of the store."""
    layout = staging.layout
    check_name(reference)
    digest = image.manifest if isinstance(image, ImageRecord) else image.digest
    with layout.publishing():
        staging.pin(image_thing(digest), bundle_thing(digest))
        if read_image(layout, digest) is None and read_bundle(layout, digest) is None:
            raise StoreError("tag the image", digest, "it was removed meanwhile")
        write_reference(staging, reference, digest)
    rewrite_index(staging)


def untag_image(staging: Staging, reference: Reference) -> None:
    """Take a reference away; the image stays, with other references or without."""
    with staging.layout.publishing():
        remove_reference(staging.layout, reference)
    rewrite_index(staging)


def check_name(reference: Reference) -> None:
    """Refuse a name that means something else where an image is named."""
    if reference.familiar_repository == HOST:
        raise InvalidInput("give an image the name", HOST, "it stands for this machine's own root")


def has_documents(layout: Layout, image: ImageRecord) -> bool:
    """Tell whether manifest and config of an image are there."""
    return has_blob(layout, image.manifest) and has_blob(layout, image.id)


def things_of(image: ImageRecord) -> list[str]:
    """Return everything in the store that an image needs."""
    blobs = [blob_thing(digest) for digest in (image.manifest, image.id, *image.blobs)]
    return [image_thing(image.manifest), *blobs, *(f"layers/{name}" for name in image.layers)]
