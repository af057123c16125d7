"""The stages of a build and what they stand on: bases and sources, each a named context, an earlier stage or an image.

A named context comes first, as BuildKit has it: a stage with its name is not built, but is what the context has.
A stage that builds on another, or takes files from it, waits here for that one's result.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import replace
from typing import TYPE_CHECKING

from lamina.build.bases import parse_layout
from lamina.build.context import Context
from lamina.build.dockerfile.arguments import DEFAULT_PATH
from lamina.build.dockerfile.expand import Expander
from lamina.build.dockerfile.instructions import Dockerfile, Instruction, Stage
from lamina.build.dockerfile.parse import parse_trigger
from lamina.build.dockerfile.stages import (
    SCRATCH,
    base_stage,
    needed_stages,
    source_stage,
    stage_hint,
    with_contexts,
)
from lamina.build.inputs.gather import Inputs
from lamina.build.keys import Key
from lamina.build.ops import Take
from lamina.build.values import BuildOptions, State, Tree, at
from lamina.errors import InvalidInput, LaminaError
from lamina.oci.config import Settings
from lamina.oci.platform import Platform, parse_platform
from lamina.oci.reference import parse_name
from lamina.store.images import ImageRecord
from lamina.store.publish import read_config

if TYPE_CHECKING:
    from lamina.build.bases import Finder, InLayout
    from lamina.store.layout import Layout
    from lamina.store.staging import Staging

_IMAGE, _LAYOUT = "docker-image://", "oci-layout://"


class Graph:
    """Finds what stages stand on; `results` are the stages that are being built, by index, set before any asks."""

    def __init__(  # noqa: PLR0917  # made in one place
        self,
        staging: Staging,
        dockerfile: Dockerfile,
        context: Context,
        inputs: Inputs,
        options: BuildOptions,
        bases: Finder,
        target: Platform,
        global_values: Mapping[str, str],
    ) -> None:
        self.results: Mapping[int, Future[State]] = {}
        self._layout: Layout = staging.layout
        self._staging = staging
        self._contexts = {context_name(name): text for name, text in options.contexts.items()}
        self._dockerfile = with_contexts(dockerfile, self._contexts)
        self._context = context
        self._inputs = inputs
        self._bases = bases
        self._target = target
        self._expander = Expander(global_values, escape=dockerfile.escape)
        self._images = {stage.index: self._image_of(stage) for stage in self._dockerfile.stages}

    def needed(self, target: Stage) -> tuple[Stage, ...]:
        """Return `target` and the stages that it needs, in the order of the file."""
        return needed_stages(
            self._dockerfile,
            self._dockerfile.stages[target.index],
            self._images,
            lambda name: self._named(name) is not None,
        )

    def base_image(self, stage: Stage) -> str | None:
        """Return the image that a stage starts from, or None where it is an earlier stage, files or nothing."""
        image = self._images[stage.index]
        earlier = base_stage(self._dockerfile, stage.index, image)
        return None if earlier is not None or self._base_files(image) or image.lower() == SCRATCH else image

    def first_steps(self, stage: Stage) -> list[Instruction]:
        """Return the instructions that stand for FROM where it names a context of files: they go to the root."""
        image = self._images[stage.index]
        if base_stage(self._dockerfile, stage.index, image) is not None or not self._base_files(image):
            return []
        return [parse_trigger(f"COPY --from={image} . /", f"FROM {image}")]

    def base_state(self, stage: Stage) -> State:
        """Return the state that a stage starts from: an earlier stage's, nothing, or an image's."""
        platform = self._platform_of(stage)
        image = self._images[stage.index]
        earlier = base_stage(self._dockerfile, stage.index, image)
        if earlier is not None:
            state = self.results[earlier.index].result()
            return replace(state, has_cmd=False)  # what ARG declared there is known here, too
        if image.lower() == SCRATCH or self._base_files(image):
            settings = Settings(env=(f"PATH={DEFAULT_PATH}",), working_dir="/")
            return State(
                settings, below=Key((("image", SCRATCH),)).text, variables={"PATH": DEFAULT_PATH}, platform=platform
            )
        try:
            record = self._find(image, platform)
        except LaminaError as error:
            hint = stage_hint(self._dockerfile, image) or error.hint
            raise at(stage.base, str(error), hint) from error
        return self._state_of(record)

    def tree_of(self, stage: Stage, take: Take) -> Tree:
        """Return the tree that `take` names in `stage`: the context, a stage, a named context, or an image."""
        word = take.from_
        if word is None:
            return Tree([self._context.root], self._context.ignore, owner="0:0")
        named = self._named(word.text)
        earlier = source_stage(self._dockerfile, stage.index, word) if named is None else None
        if earlier is not None:
            return Tree(list(self.results[earlier.index].result().trees) or [self._empty()])
        if named is not None and _image_in(named) is None:
            return self._inputs.named(word.text, named)
        return Tree(self._find(word.text, self._platform_of(stage)).trees(self._layout))

    def _empty(self) -> str:
        """Return an empty directory: the tree of a stage without layers."""
        path = self._staging.new_path()
        os.mkdir(path, 0o755)
        return path

    def _platform_of(self, stage: Stage) -> Platform:
        """Return the platform that a stage is for: that of FROM, or the one that is built."""
        if stage.base.platform is None:
            return self._target
        word = self._expander.word(stage.base.platform, stage.base.source)
        try:
            return parse_platform(word.text)
        except InvalidInput as error:
            raise at(stage.base, f"--platform={word}: {error.reason}", "--platform=$BUILDPLATFORM") from error

    def _image_of(self, stage: Stage) -> str:
        image = self._expander.word(stage.base.image, stage.base.source)
        if not image.text:
            raise at(stage.base, "the name of the base image is empty", "give its ARG a value, or a default")
        return image.text

    def _named(self, name: str) -> str | None:
        """Return the text of the context that a name means, or None."""
        return self._contexts.get(context_name(name)) if self._contexts else None

    def _base_files(self, image: str) -> bool:
        """Tell whether FROM `image` means a context of files, unless it means an earlier stage."""
        named = None if image.lower() == SCRATCH else self._named(image)
        return named is not None and _image_in(named) is None

    def _find(self, name: str, platform: Platform) -> ImageRecord:
        named = self._named(name)
        return self._bases.find((named and _image_in(named)) or name, platform)

    def _state_of(self, record: ImageRecord) -> State:
        config = read_config(self._layout, record.id)
        shell = config.settings.other.get("Shell")
        return State(
            settings=config.settings,
            layers=tuple(record.layers),
            trees=tuple(record.trees(self._layout)),
            history=config.history,
            below=Key((("image", " ".join(config.diff_ids)),)).text,
            author=config.author,
            variables=_environment(config.settings),
            shell=tuple(str(word) for word in shell) if isinstance(shell, list | tuple) else ("/bin/sh", "-c"),
            platform=config.platform,
            base_layers=len(record.layers),
            base_history=len(config.history),
        )


def context_name(name: str) -> str:
    """Return the name of a context as it is compared: `docker.io/library/debian:latest` is `debian`."""
    try:
        return parse_name(name).familiar.removesuffix(":latest")
    except InvalidInput:
        return name


def _image_in(named: str) -> str | InLayout | None:
    """Return the image that the text of a named context means, or None where it means files."""
    if named.startswith(_LAYOUT):
        return parse_layout(named.removeprefix(_LAYOUT))
    return named.removeprefix(_IMAGE) if named.startswith(_IMAGE) else None


def _environment(settings: Settings) -> dict[str, str]:
    return dict(entry.partition("=")[::2] for entry in settings.env)
