"""Telling whether a build gives the same again: once more without the cache, in a store that is thrown away.

That store lies in a staging directory of the other one, whose base images it sees through symbolic links; so nothing
that the second build makes is ever published, and `prune` removes it after a crash.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lamina.build.values import BuildError, BuildOptions
from lamina.layer import jobs
from lamina.oci.config import ImageConfig
from lamina.oci.document import parse_json
from lamina.store.layers import read_layer
from lamina.store.layout import Layout, open_layout
from lamina.store.publish import read_config, things_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from lamina.build.bases import Finder, InLayout
    from lamina.ids.worker import Worker
    from lamina.oci.platform import Platform
    from lamina.store.images import ImageRecord
    from lamina.store.staging import Staging

    #: Builds in a store, with these options and bases.
    Build = Callable[[Layout, BuildOptions, Finder], ImageRecord]

#: What is told of a layer whose names are the same, but not its tar: the order of entries, or where files have holes.
FORM = "the form of the tar"


@dataclass(frozen=True, slots=True)
class Difference:
    """Something that differs between two builds of an image.

    `instruction` is what made the layer, as the history has it, and `name` a path in it, b"" for the layer as a whole;
    `instruction` is "" where `name` is a field of the config. `aspects` are what differs: words of `layer.compare`.
    """

    instruction: str
    name: bytes
    aspects: tuple[str, ...]


def build_again(
    staging: Staging, worker: Worker, first: ImageRecord, *, options: BuildOptions, bases: Finder, build: Build
) -> list[Difference]:
    """Build again and return what differs from the image `first`, which `staging` has pinned.

    Raises what `build` does.
    """
    layout = open_layout(staging.new_path(), staging.layout.ids)
    again = replace(options, tags=(), cache_from=(), cache_to=(), no_cache=True, resume=False, explain_cache=False)
    try:
        second = build(layout, again, _Lent(bases, staging.layout, layout))
        return [
            *_differing_layers(worker, _Side(staging.layout, first), _Side(layout, second)),
            *_differing_settings(read_config(staging.layout, first.id), read_config(layout, second.id)),
        ]
    except BuildError as error:
        # What it left goes with its store, and cannot be looked at.
        raise BuildError(error.instruction, f"{error.what}, when built again", output=error.output) from None
    finally:
        worker.call(jobs.remove_tree, path=layout.root)


class _Lent:
    """Bases of one store, which another sees through links."""

    def __init__(self, bases: Finder, source: Layout, target: Layout) -> None:
        self._bases = bases
        self._source = source
        self._target = target

    def find(self, name: str | InLayout, platform: Platform) -> ImageRecord:
        record = self._bases.find(name, platform)
        for thing in things_of(record):
            try:
                os.symlink(self._source.path(thing), self._target.path(thing))
            except FileExistsError:  # another name for it, another image with this layer
                continue
        return record


class _Side:
    """An image in its store: the layers by what made them."""

    def __init__(self, layout: Layout, image: ImageRecord) -> None:
        self._layout = layout
        self.layers: Mapping[int, tuple[str, str]] = dict(_placed(read_config(layout, image.id), image.layers))

    def diff_id(self, place: int) -> str:
        """Return the diff id of the layer at a place, "" where none is."""
        return str(read_layer(self._layout, self.layers[place][1]).diff_id) if place in self.layers else ""

    def directory(self, place: int) -> str:
        """Return the directory of the layer at a place, "" where none is."""
        return self._layout.path("layers", self.layers[place][1]) if place in self.layers else ""


def _placed(config: ImageConfig, layers: Sequence[str]) -> Iterator[tuple[int, tuple[str, str]]]:
    """Yield each layer with its instruction, by its place in the history: that is the same in both builds."""
    makers = [(place, entry.created_by) for place, entry in enumerate(config.history) if not entry.empty_layer]
    if len(makers) != len(layers):  # a base whose history tells nothing
        makers = [(place, f"layer {place + 1}") for place in range(len(layers))]
    for (place, instruction), name in zip(makers, layers, strict=True):
        yield place, (instruction, name)


def _differing_layers(worker: Worker, first: _Side, second: _Side) -> Iterator[Difference]:
    for place in sorted(first.layers.keys() | second.layers.keys()):
        if first.diff_id(place) == second.diff_id(place):
            continue
        instruction, _ = first.layers.get(place) or second.layers[place]
        found = worker.call(jobs.compare_layers, first=first.directory(place), second=second.directory(place))
        for name, *aspects in found or [["", FORM]]:
            yield Difference(instruction, os.fsencode(name), tuple(aspects))


def _differing_settings(first: ImageConfig, second: ImageConfig) -> Iterator[Difference]:
    one, other = (parse_json(config.raw, "the image config") for config in (first, second))
    for name, aspect in compare_documents(one, other):
        if not name.startswith("rootfs."):  # the layers, which are compared by what is in them
            yield Difference("", name.encode(), (aspect,))


def compare_documents(first: object, second: object, name: str = "") -> Iterator[tuple[str, str]]:
    """Yield the fields that differ between two JSON documents ("config.Labels.date"), and how; lists as a whole."""
    if not (isinstance(first, Mapping) and isinstance(second, Mapping)):
        if first != second:
            yield name, "value"
        return
    for key in sorted(first.keys() | second.keys()):
        inner = f"{name}.{key}" if name else str(key)
        if key not in second:
            yield inner, "only in the first"
        elif key not in first:
            yield inner, "only in the second"
        else:
            yield from compare_documents(first[key], second[key], inner)
