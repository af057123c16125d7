"""The image of a stage's state: its config, and the names that it is given."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from lamina.build.configure import with_history
from lamina.build.values import BuildOptions, State
from lamina.oci.config import ImageConfig
from lamina.oci.reference import parse_name
from lamina.oci.timestamp import format_time
from lamina.store.layers import read_layer, settle_layers
from lamina.store.publish import publish_image, tag_image, tar_descriptor

if TYPE_CHECKING:
    from lamina.oci.platform import Platform
    from lamina.store.images import ImageRecord
    from lamina.store.staging import Staging


def make_image(staging: Staging, state: State, options: BuildOptions, platform: Platform) -> ImageRecord:
    """Publish the image of `state` under the tags that the options give."""
    settings = replace(state.settings, labels={**state.settings.labels, **options.labels})
    if not state.history:
        state = with_history(state, "FROM scratch", created=format_time(0), empty=True)
    layers = [read_layer(staging.layout, name) for name in state.layers]
    config = ImageConfig(
        platform,
        settings,
        diff_ids=tuple(layer.diff_id for layer in layers),
        history=state.history,
        created=state.history[-1].created,
        author=state.author,
    ).encoded()
    references = [parse_name(tag) for tag in options.tags]
    with staging.layout.publishing():
        staging.pin(*(f"layers/{name}" for name in state.layers))
    settle_layers(staging.layout, state.layers)  # outside of the lock, which is not held while a disk is waited for
    image = publish_image(
        staging,
        config,
        [tar_descriptor(layer) for layer in layers],
        state.layers,
        reference=references[0] if references else None,
    )
    for reference in references[1:]:
        tag_image(staging, image, reference)
    return image
