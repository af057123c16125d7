"""The image of a stage's state: its layers as the options want them, its config, and the names that it is given."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from lamina.build.configure import with_history
from lamina.build.values import BuildOptions, State
from lamina.oci.config import History, ImageConfig
from lamina.oci.reference import parse_name
from lamina.oci.timestamp import format_time, parse_time
from lamina.store.layers import read_layer, settle_layers
from lamina.store.publish import publish_image, tag_image, tar_descriptor

if TYPE_CHECKING:
    from lamina.ids.worker import Worker
    from lamina.oci.platform import Platform
    from lamina.store.images import ImageRecord
    from lamina.store.staging import Staging


def make_image(
    staging: Staging, worker: Worker, state: State, options: BuildOptions, platform: Platform
) -> ImageRecord:
    """Publish the image of `state` under the tags that the options give."""
    settings = replace(state.settings, labels={**state.settings.labels, **options.labels})
    if not state.history:
        state = with_history(state, "FROM scratch", created=format_time(0), empty=True)
    with staging.layout.publishing():
        staging.pin(*(f"layers/{name}" for name in state.layers))
    if options.squash:
        state = _squashed(staging, worker, state, options.created)
    if options.epoch is not None:
        state = _dated(staging, worker, state, options.epoch, rewrite=options.rewrite_times)
    layers = [read_layer(staging.layout, name) for name in state.layers]
    config = ImageConfig(
        platform,
        settings,
        diff_ids=tuple(layer.diff_id for layer in layers),
        history=state.history,
        created=state.history[-1].created if options.epoch is None else format_time(options.epoch),
        author=state.author,
    ).encoded()
    settle_layers(staging.layout, state.layers)  # outside of the lock, which is not held while a disk is waited for
    references = [parse_name(tag) for tag in options.tags]
    image = publish_image(
        staging,
        config,
        [tar_descriptor(layer) for layer in layers],
        state.layers,
        reference=references[0] if references else None,
        annotations=options.annotations,
    )
    for reference in references[1:]:
        tag_image(staging, image, reference)
    return image


def _squashed(staging: Staging, worker: Worker, state: State, created: int) -> State:
    """Return the state with one layer in place of all those that are not the base image's."""
    from lamina.build.squash import squash_layers

    base, new = state.layers[: state.base_layers], state.layers[state.base_layers :]
    merged = squash_layers(staging, worker, base, new)
    if merged == new:
        return state
    entries = [replace(entry, empty_layer=True) for entry in state.history[state.base_history :]]
    if merged:
        entries.append(History(created=format_time(created), created_by="lamina build --squash"))
    return replace(state, layers=(*base, *merged), history=(*state.history[: state.base_history], *entries))


def _dated(staging: Staging, worker: Worker, state: State, epoch: int, *, rewrite: bool) -> State:
    """Return the state as one of the time `epoch`: what a step made has it, what was there before is not later."""
    told = format_time(epoch)
    base = [_not_later(entry, epoch) for entry in state.history[: state.base_history]]
    # Also where a step was carried out earlier: the cache is not to show in the image.
    new = [replace(entry, created=told) for entry in state.history[state.base_history :]]
    state = replace(state, history=(*base, *new))
    if not rewrite:
        return state
    from lamina.build.times import clamp_times

    below, above = state.layers[: state.base_layers], state.layers[state.base_layers :]
    return replace(state, layers=(*below, *clamp_times(staging, worker, below, above, epoch)))


def _not_later(entry: History, epoch: int) -> History:
    later = bool(entry.created) and parse_time(entry.created) > epoch
    return replace(entry, created=format_time(epoch)) if later else entry
