"""Bundles: indexes and artifacts, kept byte for byte beside the images; one record each in `bundles/HEX`.

HEX is that of the document that a reference names: an index of several platforms, or the manifest of something that is
no image. The record says which images of the store belong to it, and which blobs it needs besides. An image of a bundle
is an image like any other, and stays as long as the bundle does.
"""

from __future__ import annotations

import os

from lamina.errors import InvalidInput, NotFound
from lamina.oci.digest import hex_of, parse_digest, short
from lamina.oci.machines import platform_name
from lamina.store.blobs import blob_thing
from lamina.store.files import list_directory, read_if_present
from lamina.store.images import ImageRecord, find_image, read_image
from lamina.store.record import Record, encode_record
from lamina.store.references import list_references

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from lamina.oci.digest import BlobDigest
    from lamina.oci.reference import Reference
    from lamina.store.layout import Layout


class BundleRecord:
    """An index or artifact. `images` are (digest of a manifest, platform), in the index's order.

    `kind` is what an artifact is of, and "" for an index. `blobs` are digests of all else that it needs, without the
    document itself.
    """

    __slots__ = ("blobs", "digest", "images", "kind", "media_type")

    def __init__(
        self, digest: BlobDigest, media_type: str, *, kind: str, images: list[tuple[BlobDigest, str]], blobs: list[str]
    ) -> None:
        self.digest = digest
        self.media_type = media_type
        self.kind = kind
        self.images = images
        self.blobs = blobs


def bundle_thing(digest: str) -> str:
    """Return where the record of a bundle is below the store's root."""
    return f"bundles/{hex_of(digest)}"


def encode_bundle(bundle: BundleRecord) -> bytes:
    """Return the content of a bundle's record."""
    return encode_record(
        [
            ("digest", bundle.digest),
            ("media-type", bundle.media_type),
            ("kind", bundle.kind or None),
            ("image", [f"{digest} {platform}" for digest, platform in bundle.images]),
            ("blob", bundle.blobs),
        ]
    )


def read_bundle(layout: Layout, digest: str) -> BundleRecord | None:
    """Return the bundle with this digest, None if the store does not have it."""
    path = layout.path(bundle_thing(digest))
    data = read_if_present(path)
    if data is None:
        return None
    record = Record(data, path)
    images = [text.partition(" ") for text in record.texts("image")]
    return BundleRecord(
        parse_digest(record.text("digest")),
        record.text("media-type"),
        kind=record.text("kind", ""),
        images=[(parse_digest(manifest), platform) for manifest, _, platform in images],
        blobs=record.texts("blob"),
    )


def list_bundles(layout: Layout) -> list[BundleRecord]:
    """Return all bundles, in the order of their digests."""
    found = [read_bundle(layout, f"sha256:{name}") for name in list_directory(layout.path("bundles"))]
    return [bundle for bundle in found if bundle is not None]


def things_of_bundle(bundle: BundleRecord) -> list[str]:
    """Return what a bundle needs in the store, but for what its images need."""
    images = [f"images/{hex_of(manifest)}" for manifest, _ in bundle.images]
    return [bundle_thing(bundle.digest), *images, *map(blob_thing, (bundle.digest, *bundle.blobs))]


def holders(layout: Layout, manifests: Iterable[str]) -> list[BundleRecord]:
    """Return the bundles that one of the images with these manifests belongs to."""
    wanted = set(manifests)
    found = list_bundles(layout)
    return [bundle for bundle in found if not wanted.isdisjoint(manifest for manifest, _ in bundle.images)]


def images_of(layout: Layout, bundle: BundleRecord) -> list[ImageRecord]:
    """Return the images of a bundle that the store has, in its order."""
    found = [read_image(layout, manifest) for manifest, _ in bundle.images]
    return [image for image in found if image is not None]


def choose_image(layout: Layout, bundle: BundleRecord, what: str, platform: str = "") -> ImageRecord:
    """Return the image of a bundle for `platform`, by default this machine's; errors call the bundle `what`."""
    from lamina.oci.platform import parse_platform  # a plain run needs no platforms

    if bundle.kind:
        reason = f"it is an artifact ({bundle.kind}), not an image"
        raise InvalidInput("use", what, reason, "lamina save and push take it; lamina copy writes its files")
    wanted = parse_platform(platform or platform_name(os.uname().machine))
    for manifest, offered in bundle.images:
        if offered and wanted.runs(parse_platform(offered)):
            image = read_image(layout, manifest)
            if image is not None:
                return image
    names = ", ".join(sorted({offered for _, offered in bundle.images if offered})) or "nothing that it names"
    raise NotFound("find an image for", wanted, f"{what} is for {names}", "--platform chooses another")


def find_root(layout: Layout, text: str) -> ImageRecord | BundleRecord:
    """Return what `text` names, an image or a whole bundle; errors as `find_image`."""
    from lamina.oci.reference import parse_reference

    try:
        digest = digest_named(layout, parse_reference(text))
    except InvalidInput:  # may be the beginning of an id
        digest = None
    return (read_bundle(layout, digest) if digest else None) or find_image(layout, text)


def digest_named(layout: Layout, reference: Reference) -> BlobDigest | None:
    """Return the digest of what a reference names in the store, with a tag or by a digest that has a name there."""
    reference = reference.tagged()
    for other, digest in list_references(layout):
        same = (other.registry, other.repository) == (reference.registry, reference.repository)
        if same and reference.tag in (None, other.tag) and reference.digest in (None, digest):
            return digest
    return None


def names_of_images(layout: Layout) -> dict[str, list[Reference]]:
    """Return the references that lead to each image, by its manifest: its own, and those of its bundles."""
    found: dict[str, list[Reference]] = {}
    for reference, digest in list_references(layout):
        bundle = read_bundle(layout, digest)
        for manifest in dict.fromkeys(manifest for manifest, _ in bundle.images) if bundle else (digest,):
            found.setdefault(manifest, []).append(reference)
    return found


class Artifact:
    """An artifact that is kept under `names`: `kind` is its artifact type, `size` that of its blobs, in bytes."""

    __slots__ = ("digest", "kind", "names", "size")

    def __init__(self, digest: BlobDigest, kind: str, names: tuple[str, ...], size: int) -> None:
        self.digest = digest
        self.kind = kind
        self.names = names
        self.size = size


def list_artifacts(layout: Layout) -> list[Artifact]:
    """Return the artifacts that have a name, in the order of their digests."""
    references = list_references(layout)
    found = []
    for bundle in list_bundles(layout):
        names = tuple(reference.familiar for reference, digest in references if digest == bundle.digest)
        if bundle.kind and names:
            paths = [layout.path(blob_thing(digest)) for digest in (bundle.digest, *bundle.blobs)]
            size = sum(os.stat(path).st_size for path in paths if os.path.exists(path))
            found.append(Artifact(bundle.digest, bundle.kind, names, size))
    return found


def bundle_name(bundle: BundleRecord) -> str:
    """Return how errors call a bundle."""
    return f"{'the artifact' if bundle.kind else 'the index'} {short(bundle.digest)}"
