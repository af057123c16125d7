"""What a build reports while it goes on: a `StepEvent` whenever a step starts, says something or ends.

A step is what takes time: an instruction that makes or reads files, a base image, an input that is fetched, the image
that is written at the end. Steps of different stages go on at the same time; their events arrive one after the other.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple

from lamina.build.stepevent import StepEvent
from lamina.build.values import Stopped
from lamina.errors import LaminaError, one_line
from lamina.events import Event, OnEvent

if TYPE_CHECKING:
    from types import TracebackType

    from lamina.build.stepevent import Status


class Ended(NamedTuple):
    """A step that has ended well; `repeatable` where it would come from the cache if the build were done again."""

    number: int
    title: str
    stage: str
    place: int
    places: int
    repeatable: bool


class Progress:
    """Numbers the steps of one build, and hands their events to `on_event` one at a time, from any thread."""

    def __init__(self, on_event: OnEvent, *, clock: Callable[[], float] = monotonic) -> None:
        self._on_event = on_event
        self._clock = clock
        self._began = clock()
        self._lock = threading.Lock()
        self._steps = 0
        self._failures: list[BaseException] = []
        self.ended: list[Ended] = []
        self.notes: list[str] = []

    def step(self, title: str, *, stage: str = "", number: int = 0, count: int = 0) -> Step:
        """Return a step, which starts and ends with its `with` block.

        An exception makes it "failed", or "canceled" if another step has failed with the very same one before.
        """
        with self._lock:
            self._steps += 1
            identity = self._steps
        place = f"{stage} {number}/{count}" if count else stage
        return Step(self, identity, f"[{place}] {title}" if place else title, stage, number, count)

    def note(self, text: str) -> None:
        """Report a line about the build as a whole."""
        self.notes.append(text)
        self.emit(StepEvent("build", "note", step=0, text=text))

    def emit(self, event: StepEvent) -> None:
        """Hand on an event, with its time."""
        with self._lock:
            event.time = round(self._clock() - self._began, 6)
            self._on_event(event)

    def pass_on(self, event: Event) -> None:
        """Hand on an event of another task that goes on within the build."""
        with self._lock:
            self._on_event(event)

    def is_first_failure(self, error: BaseException) -> bool:
        """Return whether no other step has failed with this very error; remember it."""
        with self._lock:
            known = any(error is failure for failure in self._failures)
            self._failures.append(error)
        return not known


class Step:
    """One step while it goes on."""

    def __init__(  # noqa: PLR0917  # made by Progress alone
        self, progress: Progress, identity: int, title: str, stage: str, number: int, count: int
    ) -> None:
        self.title = title
        self._progress = progress
        self._identity = identity
        self._stage = stage
        self._number = number
        self._count = count
        self._cached = False
        self._deferred = False

    def __enter__(self) -> Step:
        self._emit("started")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            if not self._deferred:
                self.end(0)
        else:
            self.fail(error)

    def fail(self, error: BaseException) -> None:
        """Report the end of a step that met `error`, or was stopped."""
        stopped = isinstance(error, Stopped) or not isinstance(error, Exception)
        if not stopped and self._progress.is_first_failure(error):
            # The step's title is there already, and the whole error comes at the end.
            self._emit("failed", text=one_line(error.reason if isinstance(error, LaminaError) else str(error)))
        else:
            self._emit("canceled")

    def output(self, line: str) -> None:
        """Report a line of the step's output."""
        self._emit("output", text=line)

    def note(self, text: str) -> None:
        """Report a line about the step."""
        self._emit("note", text=text)

    def advance(self, done: int, total: int = 0) -> None:
        """Report that `done` bytes of `total` are there; 0 where the total is not known."""
        self._emit("progress", done=done, total=total)

    def defer(self) -> None:
        """Let the step end with `end`, not with its block: its layer is made beside the next steps."""
        self._deferred = True

    def end(self, size: int) -> None:
        """Report the end of a step whose layer holds `size` bytes of files."""
        repeatable = self._cached or self._deferred
        place = (self._identity, self.title, self._stage, self._number, self._count)
        self._progress.ended.append(Ended(*place, repeatable))
        self._emit("cached" if self._cached else "done", size=size)

    def cached(self) -> None:
        """Remember that the step was not carried out, for its end."""
        self._cached = True

    def _emit(self, status: Status, *, size: int = 0, done: int = 0, total: int = 0, text: str = "") -> None:
        self._progress.emit(
            StepEvent(
                self.title,
                status,
                step=self._identity,
                stage=self._stage,
                number=self._number,
                count=self._count,
                size=size,
                done=done,
                total=total,
                text=text,
            )
        )
