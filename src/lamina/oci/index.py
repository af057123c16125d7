"""Image indexes: several manifests under one roof (image-spec image-index.md; docker's manifest list is the same)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from lamina.oci.descriptor import INDEX, INDEX_TYPES, Descriptor, read_descriptor
from lamina.oci.document import Fields, encode_json, parse_json
from lamina.oci.platform import Platform

#: The annotation that carries a reference in the index of an image layout (image-spec annotations.md).
REF_NAME = "org.opencontainers.image.ref.name"
#: The same as containerd and docker write it: always the whole name.
CONTAINERD_NAME = "io.containerd.image.name"


@dataclass(frozen=True, slots=True)
class Index:
    """Manifests, in the order of preference. `raw` are the bytes that its digest names."""

    media_type: str
    manifests: tuple[Descriptor, ...]
    annotations: Mapping[str, str] = field(default_factory=dict)
    artifact_type: str = ""
    subject: Descriptor | None = None
    raw: bytes = field(default=b"", repr=False, compare=False)

    def choose(self, platform: Platform) -> Descriptor | None:
        """Return the first manifest that `platform` runs, or the only one if it does not say for what it is."""
        for descriptor in self.manifests:
            if descriptor.platform and platform.runs(descriptor.platform):
                return descriptor
        unsaid = [descriptor for descriptor in self.manifests if descriptor.platform is None]
        return unsaid[0] if len(unsaid) == len(self.manifests) == 1 else None


def parse_index(raw: bytes, what: str = "the index") -> Index:
    """Return the index in `raw`; InvalidInput where it is none."""
    fields = Fields(parse_json(raw, what), what)
    if fields.integer("schemaVersion") != 2:
        fields.refuse("schemaVersion", "is not 2")
    media_type = fields.text("mediaType", INDEX)
    if media_type not in INDEX_TYPES or fields.has("layers") or fields.has("config"):
        fields.refuse("mediaType", "is not that of an index alone")  # CVE-2021-41190, as in a manifest
    manifests = fields.children("manifests")
    if manifests is None:
        fields.refuse("manifests", "is missing")
    subject = read_descriptor(fields.child("subject")) if fields.has("subject") else None
    listed = tuple(read_descriptor(manifest) for manifest in manifests)
    return Index(media_type, listed, fields.text_map("annotations"), fields.text("artifactType"), subject, raw)


def make_index(manifests: Iterable[Descriptor]) -> Index:
    """Return a new OCI index of `manifests`, in their order, with its bytes."""
    listed = tuple(manifests)
    document = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [manifest.to_object() for manifest in listed]}
    return Index(INDEX, listed, raw=encode_json(document))
