"""A whole build: the stages that the target needs, side by side, and the image of what comes out.

A stage that builds on another, or takes files from it, waits for it; `jobs` limits how many steps are carried out at
once. Whatever a stage made is in the cache when another one fails.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import TYPE_CHECKING

from lamina.build.configure import with_history
from lamina.build.context import Context, Input
from lamina.build.dockerfile.arguments import global_arguments, platform_arguments
from lamina.build.dockerfile.check import Facts, Report, check
from lamina.build.dockerfile.expand import Expander
from lamina.build.dockerfile.ignore import parse_ignore
from lamina.build.dockerfile.instructions import Dockerfile, Stage
from lamina.build.dockerfile.parse import parse
from lamina.build.dockerfile.source import Word
from lamina.build.dockerfile.stages import SCRATCH, base_stage, needed_stages, source_stage, stage_hint, target_stage
from lamina.build.keys import Key
from lamina.build.stage import StageBuilder, Tree
from lamina.build.values import BuildOptions, State, at
from lamina.errors import NotFound
from lamina.events import Event, OnEvent
from lamina.oci.config import ImageConfig, Settings
from lamina.oci.platform import parse_platform
from lamina.oci.reference import parse_name
from lamina.oci.timestamp import format_time
from lamina.store.images import ImageRecord, find_image, image_thing
from lamina.store.layers import read_layer, tree_path
from lamina.store.publish import publish_image, read_config, tag_image, tar_descriptor, things_of
from lamina.store.staging import Staging

if TYPE_CHECKING:
    from lamina.ids.worker import Worker
    from lamina.oci.platform import Platform
    from lamina.store.layout import Layout

_FILE_SYSTEM = "docker-image://"


def build(
    layout: Layout,
    worker: Worker,
    source: Input,
    options: BuildOptions,
    *,
    platform: Platform,
    on_event: OnEvent,
) -> ImageRecord:
    """Build the image that a Dockerfile describes, name it, and return its record.

    `worker` must take calls from several threads. Raises DockerfileError, BuildError, and what the parts raise; no
    image is made then.
    """
    dockerfile = parse(source.dockerfile, source.name)
    with Staging(layout) as staging:
        return Build(layout, worker, staging, dockerfile, source.context, options, platform, on_event).image()


def check_input(source: Input, options: BuildOptions, platform: Platform) -> Report:
    """Return what the build checks find in a Dockerfile; nothing is built. Raises DockerfileError."""
    dockerfile = parse(source.dockerfile, source.name)
    target = target_stage(dockerfile, options.target)
    facts = Facts(
        predefined=platform_arguments(platform, platform, target.name),
        build_args=options.args,
        ignore=parse_ignore(source.context.ignore) if source.context.ignore else None,
    )
    return check(dockerfile, facts)


class Build:
    """One build under way: what its stages share."""

    def __init__(  # noqa: PLR0917  # made in one place
        self,
        layout: Layout,
        worker: Worker,
        staging: Staging,
        dockerfile: Dockerfile,
        context: Context,
        options: BuildOptions,
        platform: Platform,
        on_event: OnEvent,
    ) -> None:
        self.layout = layout
        self.worker = worker
        self.staging = staging
        self.context = context
        self.options = options
        self.escape = dockerfile.escape
        self._dockerfile = dockerfile
        self._platform = platform
        self._turns = threading.Semaphore(options.jobs)
        self._telling = threading.Lock()
        self._on_event = on_event
        self._target = target_stage(dockerfile, options.target)
        predefined = platform_arguments(platform, platform, self._target.name)
        self.global_values: dict[str, str] = dict(global_arguments(dockerfile, predefined, options.args))
        self._images = {stage.index: self._image_of(stage) for stage in dockerfile.stages}
        self._results: Mapping[int, Future[State]] = {}

    def image(self) -> ImageRecord:
        """Run the stages, and make an image of the target's state."""
        if self.layout.single_id:
            text = "one id is all there is: owners other than root are lost in what this build makes"
            self.on_event(Event("build", "build", text=text))
        stages = needed_stages(self._dockerfile, self._target, self._images)
        with ThreadPoolExecutor(len(stages), "lamina-stage") as pool:
            # All futures exist before the first stage asks for another's.
            results: dict[int, Future[State]] = {}
            ready = threading.Event()

            def run(stage: Stage) -> State:
                ready.wait()
                return StageBuilder(self, stage).run()

            for stage in stages:
                results[stage.index] = pool.submit(run, stage)
            self._results = results
            ready.set()
            for stage in stages:
                results[stage.index].result()
        return self._publish(results[self._target.index].result())

    # What stages ask for

    def turn(self) -> AbstractContextManager[object]:
        """Return what a step holds while it is carried out."""
        return self._turns

    def on_event(self, event: Event) -> None:
        """Pass an event on, one at a time."""
        with self._telling:
            self._on_event(event)

    def base_state(self, stage: Stage) -> State:
        """Return the state that a stage starts from: an earlier stage's, nothing, or an image's."""
        self._check_platform(stage)
        image = self._images[stage.index]
        earlier = base_stage(self._dockerfile, stage.index, image)
        if earlier is not None:
            state = self._results[earlier.index].result()
            return replace(state, variables=_environment(state.settings), arguments=frozenset(), has_cmd=False)
        if image.lower() == SCRATCH:
            return State(below=Key((("image", SCRATCH),)).text)
        try:
            record = self._find(image)
        except NotFound as error:
            hint = stage_hint(self._dockerfile, image) or error.hint
            raise at(stage.base, str(error), hint) from error
        return self._state_of(record)

    def _check_platform(self, stage: Stage) -> None:
        if stage.base.platform is None:
            return
        word = Expander(self.global_values, escape=self.escape).word(stage.base.platform, stage.base.source)
        if not self._platform.runs(parse_platform(word.text)):
            raise at(stage.base, f"--platform={word}: this machine runs {self._platform}, and a build is for it alone")

    def tree_of(self, stage: Stage, word: Word) -> Tree:
        """Return the tree that --from names: a stage, a named context, or an image."""
        earlier = source_stage(self._dockerfile, stage.index, word)
        if earlier is not None:
            return self._trees(self._results[earlier.index].result().layers), ""
        named = self.options.contexts.get(word.text)
        if named is not None and not named.startswith(_FILE_SYSTEM):
            return [named], ""
        record = self._find(word.text if named is None else named.removeprefix(_FILE_SYSTEM))
        return self._trees(tuple(record.layers)), ""

    def _trees(self, layers: tuple[str, ...]) -> list[str]:
        return [tree_path(self.layout, name) for name in layers]

    def _image_of(self, stage: Stage) -> str:
        image = Expander(self.global_values, escape=self.escape).word(stage.base.image, stage.base.source)
        if not image.text:
            raise at(stage.base, "the name of the base image is empty", "give its ARG a value, or a default")
        return image.text

    def _find(self, name: str) -> ImageRecord:
        named = self.options.contexts.get(name, name).removeprefix(_FILE_SYSTEM)
        with self.layout.publishing():
            record = find_image(self.layout, named)
            self.staging.pin(image_thing(record.manifest), *things_of(record))
        if record.host:
            raise NotFound("build on", name, "it is a change of this machine's own root, and runs over `host` only")
        return record

    def _state_of(self, record: ImageRecord) -> State:
        config = read_config(self.layout, record.id)
        shell = config.settings.other.get("Shell")
        return State(
            settings=config.settings,
            layers=tuple(record.layers),
            history=config.history,
            below=Key((("image", " ".join(config.diff_ids)),)).text,
            author=config.author,
            variables=_environment(config.settings),
            shell=tuple(str(word) for word in shell) if isinstance(shell, list | tuple) else ("/bin/sh", "-c"),
        )

    # The result

    def _publish(self, state: State) -> ImageRecord:
        settings = replace(state.settings, labels={**state.settings.labels, **self.options.labels})
        if not state.history:
            state = with_history(state, "FROM scratch", created=format_time(0), empty=True)
        layers = [read_layer(self.layout, name) for name in state.layers]
        config = ImageConfig(
            self._platform,
            settings,
            diff_ids=tuple(layer.diff_id for layer in layers),
            history=state.history,
            created=state.history[-1].created,
            author=state.author,
        ).encoded()
        references = [parse_name(tag) for tag in self.options.tags]
        with self.layout.publishing():
            self.staging.pin(*(f"layers/{name}" for name in state.layers))
        image = publish_image(
            self.staging,
            config,
            [tar_descriptor(layer) for layer in layers],
            state.layers,
            reference=references[0] if references else None,
        )
        for reference in references[1:]:
            tag_image(self.staging, image, reference)
        return image


def _environment(settings: Settings) -> dict[str, str]:
    return dict(entry.partition("=")[::2] for entry in settings.env)
