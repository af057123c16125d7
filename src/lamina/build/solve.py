"""A whole build: the stages that the target needs, side by side, and the image of what comes out.

`jobs` limits how many steps are carried out at once. Whatever a stage made is in the cache when another one fails.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from lamina.build.cached import StepCache, open_caches
from lamina.build.context import Context, Input
from lamina.build.dockerfile.arguments import global_arguments, platform_arguments
from lamina.build.dockerfile.instructions import Dockerfile, Instruction, Stage
from lamina.build.dockerfile.parse import parse
from lamina.build.dockerfile.rules import Settings, parse_settings, settings_of
from lamina.build.dockerfile.source import NOWHERE, DockerfileError, Position
from lamina.build.dockerfile.stages import target_stage
from lamina.build.graph import Graph
from lamina.build.image import make_image
from lamina.build.inputs.gather import Inputs
from lamina.build.ops import Take
from lamina.build.progress import Progress
from lamina.build.stage import StageBuilder
from lamina.build.values import BuildError, BuildOptions, State, Stopped, Tree
from lamina.store.staging import Staging
from lamina.store.steps import StepRecord, find_step

if TYPE_CHECKING:
    from lamina.build.bases import Finder
    from lamina.build.dockerfile.check import Report
    from lamina.build.remember import Seen
    from lamina.ids.worker import Helper
    from lamina.oci.platform import Platform
    from lamina.store.images import ImageRecord
    from lamina.store.layout import Layout


#: What steps need where they are carried out: imported there once, not by each.
_MODULES = (
    "lamina.build.files",
    "lamina.layer.capture",
    "lamina.layer.unpack",
    "lamina.runtime.launch",
    "lamina.store.discard",
)

_CAPTURE = "lamina.layer.jobs:capture_layer"
_REMOVALS = ("lamina.layer.jobs:remove_tree", "lamina.layer.jobs:remove_trees")
_GRACE = 0.7  # seconds that layers of finished steps have to be made when a build is stopped
_AGAIN = 0.05  # seconds after which a call that was on its way is looked for again


def build(
    layout: Layout,
    worker: Helper,
    source: Input,
    options: BuildOptions,
    *,
    inputs: Inputs,
    bases: Finder,
    platform: Platform,
    environ: Mapping[str, str],
    progress: Progress,
    seen: Seen,
) -> ImageRecord:
    """Build the image that a Dockerfile describes, name it, and return its record.

    What `bases` finds has to be in the store of `layout`; `seen` notes what is looked at. Raises DockerfileError,
    BuildError, and what the parts raise; no image is made then.
    """
    dockerfile = parse(source.dockerfile, source.name)
    target = target_stage(dockerfile, options.target)
    if _check_settings(dockerfile, options).error:
        _refuse_findings(_check(dockerfile, target, source.context, options, platform))
    elsewhere_opened = open_caches(options.cache_from, environ, progress.note)
    with Staging(layout) as staging, elsewhere_opened as elsewhere:
        cache = StepCache(staging, worker, elsewhere)
        if elsewhere:
            from lamina.build.cachemounts import unpack_mounts

            unpack_mounts(staging, worker, elsewhere, progress.note)
        running = Build(
            staging, worker, dockerfile, target, source.context, inputs, options, platform, cache, bases, progress, seen
        )
        state = running.run()
        with progress.step("exporting to image"):
            image = make_image(staging, worker, state, options, state.platform or platform)
        if options.cache_to:
            from lamina.build.cacheexport import export_caches

            with progress.step("exporting cache") as step:
                targets = options.cache_to
                export_caches(staging, worker, cache, state.steps, targets, environ=environ, say=step.note)
        return image


def check_input(source: Input, options: BuildOptions, platform: Platform) -> Report:
    """Return what the build checks find in a Dockerfile; nothing is built. Raises DockerfileError."""
    dockerfile = parse(source.dockerfile, source.name)
    target = target_stage(dockerfile, options.target)
    return _check(dockerfile, target, source.context, options, platform)


def _check(
    dockerfile: Dockerfile, target: Stage, context: Context, options: BuildOptions, platform: Platform
) -> Report:
    from lamina.build.dockerfile.check import Facts, check
    from lamina.build.dockerfile.ignore import parse_ignore

    facts = Facts(
        predefined=platform_arguments(platform, options.platform or platform, target.name),
        build_args=options.args,
        ignore=parse_ignore(context.ignore) if context.ignore else None,
        settings=_check_settings(dockerfile, options),
    )
    return check(dockerfile, facts)


def _check_settings(dockerfile: Dockerfile, options: BuildOptions) -> Settings:
    """Return what the checks are to be: what the build argument says, in place of what the file says."""
    told = options.args.get("BUILDKIT_DOCKERFILE_CHECK")
    return settings_of(dockerfile) if told is None else parse_settings(told, NOWHERE, Position(1, 1))


def _refuse_findings(report: Report) -> None:
    """Raise what the checks found, where that is to fail the build."""
    if report.fails:
        finding, more = report.findings[0], len(report.findings) - 1
        reason = f"{finding.rule.name}: {finding.message}{f' (and {more} more)' if more else ''}"
        raise DockerfileError(
            finding.source, finding.position, reason, finding.hint or "lamina build --check shows all"
        )


class Build:
    """One build under way: what its stages share."""

    def __init__(  # noqa: PLR0917  # made in one place
        self,
        staging: Staging,
        worker: Helper,
        dockerfile: Dockerfile,
        target: Stage,
        context: Context,
        inputs: Inputs,
        options: BuildOptions,
        platform: Platform,
        cache: StepCache,
        bases: Finder,
        progress: Progress,
        seen: Seen,
    ) -> None:
        self.layout = staging.layout
        self.worker = worker
        worker.load(*_MODULES)
        self.staging = staging
        self.options = options
        self.inputs = inputs
        self.cache = cache
        self.machine = platform
        self.escape = dockerfile.escape
        built_for = options.platform or platform
        predefined = platform_arguments(platform, built_for, target.name)
        self.global_values: dict[str, str] = dict(global_arguments(dockerfile, predefined, options.args))
        self._target = target
        self._platform = built_for
        self._graph = Graph(staging, dockerfile, context, inputs, options, bases, built_for, self.global_values)
        self._turns = threading.Semaphore(options.jobs)
        self._stopping = threading.Event()
        self._made: set[str] = set()
        self.progress = progress
        self.seen = seen

    def run(self) -> State:
        """Run the stages, and return the target's state."""
        if self.layout.single_id:
            text = "one id is all there is: owners other than root are lost in what this build makes"
            self.progress.note(text)
        stages = self._graph.needed(self._target)
        with ThreadPoolExecutor(len(stages), "lamina-stage") as pool:
            # All futures exist before the first stage asks for another's.
            results: dict[int, Future[State]] = {}
            ready = threading.Event()

            def run(stage: Stage) -> State:
                ready.wait()
                return StageBuilder(self, stage).run()

            for stage in stages:
                results[stage.index] = pool.submit(run, stage)
            self._graph.results = results
            ready.set()
            try:
                wait(results.values(), return_when=FIRST_EXCEPTION)
            finally:
                self._stop(results.values())
        failed = [error for result in results.values() if (error := result.exception()) is not None]
        for error in sorted(failed, key=lambda error: isinstance(error, Stopped)):
            raise error
        return results[self._target.index].result()

    def _stop(self, running: Iterable[Future[State]]) -> None:
        """Let what is under way end at once, if anything is: steps are killed, layers of finished steps still made."""
        self._stopping.set()
        pending = set(running)
        deadline = time.monotonic() + _GRACE
        while pending := wait(pending, timeout=0).not_done:
            in_time = time.monotonic() < deadline
            self.worker.end_calls(but=(*_REMOVALS, _CAPTURE) if in_time else _REMOVALS)
            wait(pending, timeout=_AGAIN)

    # What stages ask for

    def turn(self) -> AbstractContextManager[object]:
        """Return what a step holds while it is carried out."""
        return self._turns

    def base_image(self, stage: Stage) -> str | None:
        """Return the image that a stage starts from, or None where it is an earlier stage, files or nothing."""
        return self._graph.base_image(stage)

    def first_steps(self, stage: Stage) -> list[Instruction]:
        """Return the instructions that stand for FROM, where that names a context of files."""
        return self._graph.first_steps(stage)

    def find_made(self, key: str, *, earlier: bool) -> StepRecord | None:
        """Return what a step made, now that nobody else carries it out: in this build, or with `earlier` in any."""
        return find_step(self.staging, key) if earlier or key in self._made else None

    def note_made(self, record: StepRecord) -> None:
        """Remember that this build has carried out a step."""
        self._made.add(record.key)

    def check_going(self) -> None:
        """Raise Stopped where the build is to end."""
        if self._stopping.is_set():
            raise Stopped

    def keep_failure(self, state: State, error: BuildError, key: str, directory: str) -> BuildError:
        """Keep what a failed step left, and return the error with the name of that."""
        from lamina.build.failure import keep_failure

        kept = keep_failure(
            self.staging,
            self.worker,
            self.options,
            self._platform,
            state=state,
            error=error,
            key=key,
            directory=directory,
        )
        return BuildError(error.instruction, error.what, output=error.output, ignored=error.ignored, kept=kept)

    def wait(self, seconds: float) -> None:
        """Wait, or raise Stopped."""
        if self._stopping.wait(seconds):
            raise Stopped

    def base_state(self, stage: Stage) -> State:
        """Return the state that a stage starts from."""
        return self._graph.base_state(stage)

    def tree_of(self, stage: Stage, take: Take) -> Tree:
        """Return the tree that `take` names in `stage`."""
        return self._graph.tree_of(stage, take)
