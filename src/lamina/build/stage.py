"""Building one stage: its instructions in order, each from the cache or carried out.

A step that changes files gets a key; where the store knows what it made, that is taken. What it makes is the upper of
its own directory, captured as a layer; one that changes no file makes none.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from lamina.build import files
from lamina.build.carry import carry_out
from lamina.build.configure import configure, take_triggers, with_history
from lamina.build.dockerfile.expand import Expander
from lamina.build.dockerfile.instructions import Instruction, Run, Stage
from lamina.build.dockerfile.parse import parse_trigger
from lamina.build.keys import BELOW, Key, Part, differences, identity
from lamina.build.ops import Operation, Take, WorkdirOp, plan_step
from lamina.build.values import BuildOptions, State, Tree, at
from lamina.errors import InvalidInput
from lamina.events import Event, ignore
from lamina.layer import jobs
from lamina.oci.timestamp import format_time
from lamina.store import making
from lamina.store.steps import StepRecord, find_step, last_key, read_step, write_step

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from lamina.ids.worker import Worker
    from lamina.store.layout import Layout
    from lamina.store.staging import Staging


class Surroundings(Protocol):
    """What a stage needs of the build that it is part of."""

    layout: Layout
    worker: Worker
    staging: Staging
    options: BuildOptions
    escape: str
    global_values: dict[str, str]

    def base_state(self, stage: Stage) -> State: ...

    def tree_of(self, stage: Stage, take: Take) -> Tree: ...

    def on_event(self, event: Event) -> None: ...

    def turn(self) -> AbstractContextManager[object]: ...


class StageBuilder:
    """Carries out the instructions of one stage."""

    def __init__(self, build: Surroundings, stage: Stage) -> None:
        self.layout = build.layout
        self.worker = build.worker
        self.options = build.options
        self._build = build
        self._stage = stage
        self._number = 0
        self._created = format_time(build.options.created)

    def run(self) -> State:
        """Return the state after the last instruction. Raises BuildError, DockerfileError, and what the parts raise."""
        state = self._build.base_state(self._stage)
        triggers, settings = take_triggers(state.settings)
        state = replace(state, settings=settings)
        inherited = [parse_trigger(trigger, f"ONBUILD of {self._stage.base.image}") for trigger in triggers]
        instructions = [*inherited, *self._stage.instructions]
        for number, instruction in enumerate(instructions, 1):
            self._number = number
            self.say(f"[{self._stage.label} {number}/{len(instructions)}] {_first_line(instruction)}")
            state = self._step(state, instruction)
        return state

    def tree_of(self, take: Take) -> Tree:
        """Return the tree that an operation takes files from."""
        return self._build.tree_of(self._stage, take)

    def say(self, line: str) -> None:
        """Tell a line about this stage, or of what its commands say."""
        self._build.on_event(Event("build", self._stage.label, text=line))

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
            return with_history(configured, written.text, created=created, empty=True)
        mounts = expander.mounts(instruction) if isinstance(instruction, Run) else ()
        operation = plan_step(state, instruction, mounts)
        if isinstance(operation, WorkdirOp):
            state = replace(state, settings=replace(state.settings, working_dir=operation.path))
        return self._file_step(state, operation)

    def _file_step(self, state: State, operation: Operation) -> State:
        """Take what the operation makes from the cache, or carry it out."""
        build = self._build
        key = Key(((BELOW, state.below), *operation.parts, *self._content_parts(operation)))
        record = None if self.options.no_cache else find_step(build.staging, key.text)
        if record is not None:
            self.say("CACHED")
        else:
            identities = (
                identity(self.options.target or "", self._stage.label, str(self._number)),
                identity(operation.step.text),
            )
            if self.options.explain_cache:
                self._explain(key, identities)
            with build.turn():
                layer = self._make(state, operation)
            record = StepRecord(key.text, layer, self._created, key.texts())
            write_step(build.staging, record, identities)
        layers = (*state.layers, record.layer) if record.layer else state.layers
        state = replace(state, layers=layers, below=key.text)
        return with_history(state, operation.created_by, created=record.created, empty=not record.layer)

    def _make(self, state: State, operation: Operation) -> str:
        """Carry out a step in a directory of its own; return the name of the layer that it made, or nothing."""
        build = self._build
        directory = build.staging.new_path()
        os.mkdir(directory, 0o755)
        try:
            made = carry_out(self, operation, state, directory)
            layer = making.capture(
                build.staging,
                build.worker,
                [("", os.path.join(directory, "upper"))],
                state.layers,
                over_host=False,
                ignore=made,
                on_event=ignore,
            )
        finally:
            build.worker.call(jobs.remove_tree, path=directory)
        return layer.name if layer.entries else ""

    def _content_parts(self, operation: Operation) -> list[Part]:
        """Return the modes and contents of what an operation takes."""
        parts: list[Part] = []
        for take in operation.takes:
            tree = self.tree_of(take)
            try:
                found = self.worker.call(
                    files.digest_sources,
                    layers=tree.layers,
                    ignore=tree.ignore,
                    sources=list(take.sources),
                    exclude=list(take.exclude),
                    parents=take.parents,
                )
            except InvalidInput as error:
                raise at(operation.step, str(error)) from error
            for path, mode, content in found:
                name = path.lstrip("/") or "."
                parts += [(f"mode of {name}", mode), (f"contents of {name}", content)]
        return parts

    def _explain(self, key: Key, identities: tuple[str, ...]) -> None:
        for name in identities:
            before = last_key(self.layout, name)
            record = read_step(self.layout, before) if before else None
            if record is not None:
                found = differences(record.parts, key.texts()) or ["its layer is gone"]
                self.say("not from the cache: " + "; ".join(found))
                return
        self.say("not from the cache: no earlier run of this step is known")


def _first_line(instruction: Instruction) -> str:
    return instruction.text.partition("\n")[0]
