"""Image manifests: a config and layers, base first (image-spec manifest.md; docker's schema 2 is the same)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lamina.errors import InvalidInput
from lamina.oci.descriptor import (
    CONFIG_TYPES,
    INDEX_TYPES,
    LAYER_COMPRESSION,
    MANIFEST,
    MANIFEST_TYPES,
    Descriptor,
    read_descriptor,
)
from lamina.oci.document import Fields, encode_json, parse_json, without_empty


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an image consists of. `raw` are the bytes that its digest names; they are never made anew."""

    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]
    annotations: Mapping[str, str] = field(default_factory=dict)
    artifact_type: str = ""
    subject: Descriptor | None = None
    raw: bytes = field(default=b"", repr=False, compare=False)

    @property
    def kind(self) -> str:
        """What it is of: its artifact type, else the type of its config (distribution-spec, "Listing Referrers")."""
        return self.artifact_type or self.config.media_type

    @property
    def is_image(self) -> bool:
        """Whether it is an image of file system layers, which can be unpacked, and not an artifact."""
        layers = all(layer.media_type in LAYER_COMPRESSION for layer in self.layers)
        return layers and not self.artifact_type and self.config.media_type in CONFIG_TYPES


def parse_manifest(raw: bytes, what: str = "the manifest") -> Manifest:
    """Return the manifest in `raw`; InvalidInput where it is none, or one of something that is no image of layers."""
    manifest = parse_any_manifest(raw, what)
    for i, layer in enumerate(manifest.layers):
        if layer.media_type not in LAYER_COMPRESSION:
            reason = f"layers[{i}].mediaType is {layer.media_type!r}, which is no file system layer"
            raise InvalidInput("read", what, reason)
    return manifest


def parse_any_manifest(raw: bytes, what: str) -> Manifest:
    """Return the manifest in `raw`, whatever its layers and config are; InvalidInput where it is none."""
    fields = Fields(parse_json(raw, what), what)
    if fields.integer("schemaVersion") != 2:
        fields.refuse("schemaVersion", "is not 2; older manifests are not read")
    media_type = fields.text("mediaType", MANIFEST)
    if media_type in INDEX_TYPES or fields.has("manifests"):
        # One document that is both could be read as different images by different programs (CVE-2021-41190).
        fields.refuse("mediaType", "is that of an index, where a manifest is needed")
    if media_type not in MANIFEST_TYPES:
        fields.refuse("mediaType", f"is {media_type!r}, which is no image manifest")
    config = read_descriptor(fields.child("config"))
    layers = tuple(read_descriptor(layer) for layer in fields.children("layers") or ())
    subject = read_descriptor(fields.child("subject")) if fields.has("subject") else None
    return Manifest(
        media_type, config, layers, fields.text_map("annotations"), fields.text("artifactType"), subject, raw
    )


def make_manifest(
    config: Descriptor,
    layers: tuple[Descriptor, ...],
    annotations: Mapping[str, str],
    *,
    artifact_type: str = "",
    subject: Descriptor | None = None,
) -> Manifest:
    """Return a new OCI manifest of `config` and `layers`, base first, with its bytes.

    With `subject` it is attached to another manifest, which it is about.
    """
    more = {
        "annotations": dict(annotations),
        "artifactType": artifact_type,
        "subject": subject.to_object() if subject else None,
    }
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": config.to_object(),
        "layers": [layer.to_object() for layer in layers],
        **without_empty(more),
    }
    return Manifest(MANIFEST, config, layers, dict(annotations), artifact_type, subject, encode_json(document))
