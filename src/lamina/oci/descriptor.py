"""Descriptors: what one document says of another (image-spec descriptor.md), and the media types that we know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lamina.oci.digest import BlobDigest, parse_digest
from lamina.oci.document import Fields, without_empty
from lamina.oci.platform import Platform, read_platform

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
LAYER_GZIP = LAYER + "+gzip"
LAYER_ZSTD = LAYER + "+zstd"
#: The blob `{}`: for a config that nobody needs (manifest.md, "Guidance for an Empty Descriptor").
EMPTY = "application/vnd.oci.empty.v1+json"

DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
DOCKER_LAYER_GZIP = DOCKER_LAYER + ".gzip"

#: Which compression a layer of a media type has; a type that is not here is no layer that we can apply.
LAYER_COMPRESSION: Mapping[str, str] = {
    LAYER: "none",
    LAYER_GZIP: "gzip",
    LAYER_ZSTD: "zstd",
    DOCKER_LAYER: "none",
    DOCKER_LAYER_GZIP: "gzip",
    DOCKER_LAYER + ".zstd": "zstd",
    # "Non-distributable" layers differ in who may push them, not in form (layer.md).
    "application/vnd.oci.image.layer.nondistributable.v1.tar": "none",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip": "gzip",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd": "zstd",
    "application/vnd.docker.image.rootfs.foreign.diff.tar": "none",
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip": "gzip",
}

INDEX_TYPES = frozenset({INDEX, DOCKER_INDEX})
MANIFEST_TYPES = frozenset({MANIFEST, DOCKER_MANIFEST})
CONFIG_TYPES = frozenset({CONFIG, DOCKER_CONFIG})


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A blob that a document refers to: what it is, its digest, and its size in bytes."""

    media_type: str
    digest: BlobDigest
    size: int
    annotations: Mapping[str, str] = field(default_factory=dict)
    platform: Platform | None = None
    artifact_type: str = ""
    other: Mapping[str, object] = field(default_factory=dict)

    def to_object(self) -> dict[str, object]:
        """Return the descriptor as JSON has it."""
        known = {
            "annotations": dict(self.annotations),
            "platform": self.platform.to_object() if self.platform else None,
            "artifactType": self.artifact_type,
        }
        needed = {"mediaType": self.media_type, "digest": self.digest, "size": self.size}
        return {**self.other, **needed, **without_empty(known)}


def read_descriptor(fields: Fields) -> Descriptor:
    """Return the descriptor that JSON `fields` are; InvalidInput where they are none."""
    digest = fields.parsed("digest", parse_digest)
    size = fields.integer("size")
    if size < 0:
        fields.refuse("size", "is negative")
    return Descriptor(
        media_type=fields.needed_text("mediaType"),
        digest=digest,
        size=size,
        annotations=fields.text_map("annotations"),
        platform=read_platform(fields.child("platform")) if fields.has("platform") else None,
        artifact_type=fields.text("artifactType"),
        other=fields.rest(),
    )
