"""Building one stage: its instructions in order, each from the cache or carried out.

A step that changes files gets a key; where the store knows what it made, that is taken. What it makes is the upper of
its own directory, captured as a layer; one that changes no file makes none.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from lamina.build import files
from lamina.build.cached import StepCache
from lamina.build.carry import carry_out
from lamina.build.configure import configure, take_triggers, with_history
from lamina.build.dockerfile.expand import Expander
from lamina.build.dockerfile.instructions import Add, Copy, Instruction, Run, Stage, Workdir
from lamina.build.dockerfile.mounts import CacheMount
from lamina.build.dockerfile.parse import parse_trigger
from lamina.build.dockerfile.source import DockerfileError
from lamina.build.emulation import check_runnable
from lamina.build.finish import Finisher, Work
from lamina.build.inputs.adding import remote_parts
from lamina.build.inputs.gather import Inputs
from lamina.build.keys import BELOW, Key, Part, differences, digest, identity
from lamina.build.ops import CopyOp, Operation, RunOp, Take, WorkdirOp, plan_step
from lamina.build.progress import Progress, Step
from lamina.build.running import cache_name
from lamina.build.values import BuildError, BuildOptions, State, Tree, at
from lamina.errors import InvalidInput, shown
from lamina.oci.timestamp import format_time
from lamina.store.failed import has_upper, take_upper
from lamina.store.steps import StepLock, StepRecord, last_key, read_step

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from lamina.build.remember import Seen
    from lamina.ids.worker import Helper
    from lamina.oci.platform import Platform
    from lamina.store.layout import Layout
    from lamina.store.staging import Staging


class Surroundings(Protocol):
    """What a stage needs of the build that it is part of."""

    layout: Layout
    worker: Helper
    staging: Staging
    options: BuildOptions
    inputs: Inputs
    cache: StepCache
    machine: Platform
    escape: str
    progress: Progress
    seen: Seen
    global_values: dict[str, str]

    def base_image(self, stage: Stage) -> str | None: ...

    def base_state(self, stage: Stage) -> State: ...

    def first_steps(self, stage: Stage) -> list[Instruction]: ...

    def tree_of(self, stage: Stage, take: Take) -> Tree: ...

    def turn(self) -> AbstractContextManager[object]: ...

    def find_made(self, key: str, *, earlier: bool) -> StepRecord | None: ...

    def note_made(self, record: StepRecord) -> None: ...

    def check_going(self) -> None: ...

    def keep_failure(self, state: State, error: BuildError, key: str, directory: str) -> BuildError: ...

    def wait(self, seconds: float) -> None: ...


_POLL = 0.02  # seconds between two looks at a lock that another process holds: flock(2) cannot wait and be stopped


class StageBuilder:
    """Carries out the instructions of one stage."""

    def __init__(self, build: Surroundings, stage: Stage) -> None:
        self.layout = build.layout
        self.worker = build.worker
        self.options = build.options
        self.inputs = build.inputs
        self._build = build
        self._stage = stage
        self._number = 0
        self._shown = 0
        self._count = int(build.base_image(stage) is not None) + sum(map(_is_shown, stage.instructions))
        self.progress: Step  # the step that is carried out
        self._created = format_time(build.options.created)
        self._finisher = Finisher(build.staging, build.worker)
        self._rows: dict[Take, list[list[str]]] = {}  # of the operation that is carried out
        self._no_cache = build.options.no_cache or stage.label in build.options.no_cache_stages

    def run(self) -> State:
        """Return the state after the last instruction. Raises BuildError, DockerfileError, and what the parts raise."""
        state = self._base_state()
        triggers, settings = take_triggers(state.settings)
        state = replace(state, settings=settings)
        inherited = self._build.first_steps(self._stage)
        inherited += [parse_trigger(trigger, f"ONBUILD of {self._stage.base.image}") for trigger in triggers]
        self._count += sum(map(_is_shown, inherited))
        instructions = [*inherited, *self._stage.instructions]
        self._finisher.start(state.layers)
        try:
            for number, instruction in enumerate(instructions, 1):
                self._number = number
                if not _is_shown(instruction):
                    state = self._step(state, instruction)
                    continue
                with self._new_step(_first_line(instruction)) as self.progress:
                    state = self._step(state, instruction)
            return self._finisher.settle(state)
        finally:
            self._finisher.close()

    def _base_state(self) -> State:
        """Return what FROM stands for: where that is an image, it is a step, too."""
        image = self._build.base_image(self._stage)
        if image is None:
            return self._build.base_state(self._stage)
        with self._new_step(f"FROM {image}"):
            return self._build.base_state(self._stage)

    def _new_step(self, title: str) -> Step:
        self._shown += 1
        return self._build.progress.step(title, stage=self._stage.label, number=self._shown, count=self._count)

    def tree_of(self, take: Take) -> Tree:
        """Return the tree that an operation takes files from, with what was found there for its key."""
        return replace(self._build.tree_of(self._stage, take), rows=self._rows.get(take))

    def _step(self, state: State, written: Instruction) -> State:
        expander = Expander(state.variables, escape=self._build.escape)
        instruction = expander.instruction(written)
        configured = configure(
            state,
            instruction,
            expander,
            global_values=self._build.global_values,
            build_args=self.options.args,
            escape=self._build.escape,
        )
        if configured is not None:
            # It takes no time of its own: the same steps from the cache are to give the same image.
            created = state.history[-1].created if state.history else format_time(0)
            state, created_by = configured
            return with_history(state, created_by, created=created, empty=True) if created_by else state
        mounts = expander.mounts(instruction) if isinstance(instruction, Run) else ()
        operation = plan_step(state, instruction, mounts)
        if isinstance(operation, WorkdirOp):
            state = replace(state, settings=replace(state.settings, working_dir=operation.path))
        return self._file_step(state, operation)

    def _file_step(self, state: State, operation: Operation) -> State:
        """Take what the operation makes from the cache, or carry it out."""
        key = plain = Key(((BELOW, state.below), *operation.parts, *self._content_parts(operation)))
        if isinstance(operation, RunOp):
            names = [cache_name(mount) for mount in operation.mounts if isinstance(mount, CacheMount)]
            self._build.cache.note_mounts(names)
        known = self._find(key, operation)
        if known is None and self.options.resume:
            resumed = self._find(key.resumed(), operation)
            if resumed or has_upper(self.layout, key.text):
                known, key = resumed, key.resumed()
        state = self._take_known(state, operation, known) if known else self._make(state, operation, key, plain)
        self._build.seen.step(key.text)
        return replace(state, below=key.text, steps=(*state.steps, key.text))

    def _find(self, key: Key, operation: Operation) -> StepRecord | None:
        if self._no_cache:
            return None
        identities = self._identities(operation)
        return self._build.cache.find(key, self._finisher.layers, identities, self.progress.note)

    def _take_known(self, state: State, operation: Operation, record: StepRecord) -> State:
        self.progress.cached()
        state = self._finisher.add_known(state, record)
        return with_history(state, operation.created_by, created=record.created, empty=not record.layer)

    def _make(self, state: State, operation: Operation, key: Key, plain: Key) -> State:
        """Carry out a step, unless somebody else does at this moment: then take what that one makes.

        `plain` is the key without regard to --resume.
        """
        build = self._build
        lock = self._lock(key)
        try:
            known = build.find_made(key.text, earlier=not self._no_cache)
            if known is not None:
                lock.close()
                return self._take_known(state, operation, known)
            identities = self._identities(operation)
            if isinstance(operation, RunOp):
                check_runnable(build.machine, state.platform, operation.step)
            if self.options.explain_cache:
                self._explain(key, identities)
            directory = self._finisher.new_directory()
            if self.options.resume and take_upper(self.layout, plain.text, os.path.join(directory, "upper")):
                self.progress.note("goes on over what the failed command left")
            with build.turn():
                build.check_going()
                ignored = self._carry_out(operation, state, directory)
        except BuildError as error:
            lock.close()
            build.check_going()  # a command that was killed has not failed
            raise build.keep_failure(self._finisher.settle(state), error, plain.text, directory) from None
        except BaseException:
            lock.close()
            raise
        record = StepRecord(key.text, "", self._created, key.texts())
        work = Work(directory, ignored, record, identities, lock)
        self.progress.defer()
        state = self._finisher.add_made(state, work, self.progress, self._note_made)
        # Whether it is an empty layer is known when it is made: `settle` corrects the history.
        return with_history(state, operation.created_by, created=self._created, empty=False)

    def _carry_out(self, operation: Operation, state: State, directory: str) -> list[str]:
        """Carry out an operation; what copying meets is told with the place of the instruction."""
        try:
            return carry_out(self, operation, state, directory)
        except DockerfileError:
            raise
        except InvalidInput as error:
            raise at(operation.step, str(error), error.hint) from error
        except OSError as error:
            if isinstance(operation, RunOp):
                raise
            raise at(operation.step, f"cannot copy {shown(error.filename)}: {error.strerror}") from error

    def _note_made(self, record: StepRecord, identities: Sequence[str]) -> None:
        self._build.cache.note(record, identities)
        self._build.note_made(record)

    def _identities(self, operation: Operation) -> tuple[str, ...]:
        """Return the names under which a person would look for this step's last run."""
        return (
            identity(self.options.target or "", self._stage.label, str(self._number)),
            identity(operation.step.text),
        )

    def _lock(self, key: Key) -> StepLock:
        """Take the right to carry out the step: at once, or when the one who has it is done or dead."""
        build = self._build
        # What others make is not wanted without a cache, but two stages of this build may still share a step.
        own = f"-{os.path.basename(build.staging.path)}" if self._no_cache else ""
        lock = StepLock(self.layout, key.text + own)
        waiting = False
        while not lock.take():
            if not waiting:
                self.progress.note("waiting for the same step, which is being carried out")
                waiting = True
            build.wait(_POLL)
        return lock

    def _content_parts(self, operation: Operation) -> list[Part]:
        """Return the modes and contents of what an operation takes."""
        parts: list[Part] = []
        self._rows = {}
        for take in operation.takes:
            tree = self.tree_of(take)
            try:
                found = self._digest_call(take, tree)(
                    files.digest_sources,
                    layers=tree.layers,
                    ignore=tree.ignore,
                    sources=list(take.sources),
                    exclude=list(take.exclude),
                    parents=take.parents,
                    table=self.layout.path("build", "digests", digest("\0".join(tree.layers))),
                )
            except InvalidInput as error:
                raise at(operation.step, str(error)) from error
            except OSError as error:  # a link that leads nowhere, a file that goes away
                raise at(operation.step, f"cannot read {shown(error.filename)}: {error.strerror}") from error
            if take.from_ is None:
                self._build.seen.files([path for path, _, _, _ in found["files"]], [])
                self._build.seen.files(*found["looked_at"])
            if not self._is_ours(tree):
                self._rows[take] = found["files"]
            for path, mode, content, _ in found["files"]:
                name = path.lstrip("/") or "."
                parts += [(f"mode of {name}", mode), (f"contents of {name}", content)]
        if isinstance(operation, CopyOp):
            parts += remote_parts(self.inputs, operation, self.progress)
            if operation.remotes:
                self._build.seen.elsewhere()
        return parts

    def _digest_call(self, take: Take, tree: Tree) -> Callable[..., dict[str, list[list[str]]]]:
        """Return what calls a function where the files can be read: the caller's own need no helper process."""
        if (take.from_ is None and not self._is_ours(tree)) or self.layout.ids.kind == "host":
            return _call_here
        return self.worker.call

    def _is_ours(self, tree: Tree) -> bool:
        """Tell whether a tree lies in the store, where nobody else writes."""
        return tree.layers[0].startswith(f"{self.layout.root}/")

    def _explain(self, key: Key, identities: tuple[str, ...]) -> None:
        for name in identities:
            before = last_key(self.layout, name)
            record = read_step(self.layout, before) if before else None
            if record is not None:
                found = differences(record.parts, key.texts()) or ["its layer is gone"]
                self.progress.note("not from the cache: " + "; ".join(found))
                return
        self.progress.note("not from the cache: no earlier run of this step is known")


def _is_shown(instruction: Instruction) -> bool:
    """Tell whether an instruction is a step: those that only change the config take no time."""
    return isinstance(instruction, Run | Copy | Add | Workdir)


def _first_line(instruction: Instruction) -> str:
    return instruction.text.partition("\n")[0]


def _call_here(function: Callable[..., dict[str, list[list[str]]]], **arguments: object) -> dict[str, list[list[str]]]:
    return function(**arguments)
