"""What `--metadata-file` says of a result, under the keys that docker's buildx has."""

from __future__ import annotations

from collections.abc import Sequence

from lamina.oci.config import ImageConfig
from lamina.oci.descriptor import Descriptor
from lamina.oci.digest import digest_of
from lamina.oci.manifest import Manifest
from lamina.oci.reference import Reference


def describe_image(
    manifest: Manifest | Descriptor, config: ImageConfig, names: Sequence[Reference]
) -> dict[str, object]:
    """Return the document for an image whose manifest, or the one that was sent elsewhere, is `manifest`."""
    if isinstance(manifest, Manifest):
        manifest = Descriptor(manifest.media_type, digest_of(manifest.raw), len(manifest.raw))
    image_id = digest_of(config.raw)
    descriptor = Descriptor(
        manifest.media_type,
        manifest.digest,
        manifest.size,
        {"config.digest": image_id, "org.opencontainers.image.created": config.created},
        platform=config.platform,
    )
    named = {"image.name": ",".join(str(name) for name in names)} if names else {}
    return {
        "containerimage.config.digest": image_id,
        "containerimage.descriptor": descriptor.to_object(),
        "containerimage.digest": manifest.digest,
        **named,
    }
