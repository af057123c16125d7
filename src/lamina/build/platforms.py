"""Images for several platforms that one build makes, as one index under the build's names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamina.errors import UsageError
from lamina.oci.descriptor import INDEX, Descriptor
from lamina.oci.index import make_index
from lamina.oci.platform import Platform, parse_platform
from lamina.oci.reference import parse_name
from lamina.store.blobs import put_document
from lamina.store.bundles import BundleRecord
from lamina.store.publish import publish_bundle, read_manifest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lamina.store.images import ImageRecord
    from lamina.store.staging import Staging


def parse_platforms(text: str) -> tuple[Platform, ...]:
    """Return the platforms that commas separate, each once, in their order; none for an empty text."""
    named = map(parse_platform, text.split(",") if text else ())
    return tuple({str(platform): platform for platform in named}.values())


def check_alone(**given: object) -> None:
    """Refuse, with several platforms, options that are for one image (UsageError)."""
    for name, value in given.items():
        if value:
            hint = "lamina save and lamina push give an index away"
            raise UsageError("build for", f"--{name}", "it is for a build for one platform", hint)


def publish_index(staging: Staging, images: Sequence[tuple[Platform, ImageRecord]], tags: Sequence[str]) -> None:
    """Publish an index of `images`, which `staging` has pinned, under the names `tags`.

    The platforms are those that were asked for: a last stage FROM --platform=$BUILDPLATFORM may have made it another.
    """
    layout = staging.layout
    listed = []
    for platform, image in images:
        manifest = read_manifest(layout, image.manifest)
        listed.append(Descriptor(manifest.media_type, image.manifest, len(manifest.raw), platform=platform))
    with layout.publishing():
        digest = put_document(staging, make_index(listed).raw)
    named = [(image.manifest, str(platform)) for platform, image in images]
    bundle = BundleRecord(digest, INDEX, kind="", images=named, blobs=[])
    publish_bundle(staging, bundle, [parse_name(tag) for tag in tags])
