"""From a step that was carried out to its layer: captured beside the steps that follow, one after the other.

The next step stands on the upper itself, so that it need not wait until that is a layer: the tree made of an upper
shows the same. What the steps left is removed when the stage has ended.
"""

from __future__ import annotations

import os
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

from lamina.build.values import State
from lamina.events import ignore
from lamina.layer import jobs
from lamina.store import making
from lamina.store.layers import tree_path
from lamina.store.steps import StepLock, StepRecord, write_step

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lamina.build.progress import Step
    from lamina.ids.worker import Worker
    from lamina.store.staging import Staging

    #: Is told what a step made, and under which names it is looked for.
    Done: TypeAlias = Callable[[StepRecord, Sequence[str]], None]


@dataclass(frozen=True, slots=True)
class Work:
    """A step that was carried out in `directory`, whose `upper` is to become a layer without the names in `ignored`.

    `record` lacks that layer; `lock` is let go once the record can be found under its key.
    """

    directory: str
    ignored: list[str]
    record: StepRecord
    identities: Sequence[str]
    lock: StepLock

    @property
    def upper(self) -> str:
        """What the step changed."""
        return os.path.join(self.directory, "upper")


class Finisher:
    """The layers of one stage. `settle` or `close` waits for all of them."""

    def __init__(self, staging: Staging, worker: Worker) -> None:
        self._staging = staging
        self._worker = worker
        self._layers: list[str] = []
        self._steps: list[tuple[int, StepRecord | Future[StepRecord]]] = []  # by their place in the history
        self._directories: list[str] = []
        self._pool: ThreadPoolExecutor | None = None

    def start(self, layers: Sequence[str]) -> None:
        """Stand on `layers`, base first."""
        self._layers = list(layers)

    def new_directory(self) -> str:
        """Make a directory for a step, which stays until the stage has ended."""
        directory = self._staging.new_path()
        os.mkdir(directory, 0o755)
        self._directories.append(directory)
        return directory

    def add_known(self, state: State, record: StepRecord) -> State:
        """Return the state after a step whose layer is there."""
        if self._pool is None:
            self._take(record)
            self._steps.append((len(state.history), record))
        else:
            self._steps.append((len(state.history), self._pool.submit(self._take, record)))
        if record.layer:
            state = replace(state, trees=(*state.trees, tree_path(self._staging.layout, record.layer)))
        return state

    def add_made(self, state: State, work: Work, step: Step, done: Done) -> State:
        """Return the state after a step whose layer is yet to be made: then `done` is told, and `step` ends."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(1, "lamina-layer")
        self._steps.append((len(state.history), self._pool.submit(self._finish, work, step, done)))
        return replace(state, trees=(*state.trees, work.upper))

    def _finish(self, work: Work, step: Step, done: Done) -> StepRecord:
        try:
            self._raise_earlier()
            layer = making.capture(
                self._staging,
                self._worker,
                [("", work.upper)],
                self._layers,
                over_host=False,
                ignore=work.ignored,
                give=True,
                on_event=ignore,
            )
            record = replace(work.record, layer=layer.name if layer.entries else "")
            write_step(self._staging, record, work.identities)
            done(record, work.identities)
            step.end(layer.content)
        except BaseException as error:
            step.fail(error)
            raise
        finally:
            work.lock.close()
        return self._take(record)

    def layers(self) -> list[str]:
        """Return the names of the layers so far, base first; waits for those that are being made."""
        for _, step in list(self._steps):
            if isinstance(step, Future):
                step.result()
        return list(self._layers)

    def settle(self, state: State) -> State:
        """Wait for all layers, and return the state with their names, and a history that tells which steps made one."""
        history = list(state.history)
        for place, step in self._steps:
            record = step.result() if isinstance(step, Future) else step
            history[place] = replace(history[place], created=record.created, empty_layer=not record.layer)
        layers = tuple(self._layers)
        trees = tuple(tree_path(self._staging.layout, name) for name in layers)
        return replace(state, history=tuple(history), layers=layers, trees=trees)

    def close(self) -> None:
        """Wait for what is under way, and remove what the steps left."""
        if self._pool is not None:
            self._pool.shutdown()
        directories, self._directories = self._directories, []
        if directories:
            self._worker.call(jobs.remove_trees, paths=directories)

    def _take(self, record: StepRecord) -> StepRecord:
        if record.layer:
            self._layers.append(record.layer)
        return record

    def _raise_earlier(self) -> None:
        """Raise what an earlier layer met: this one would stand on less than it was made over."""
        for _, step in self._steps:
            if isinstance(step, Future) and step.done():
                step.result()
