"""What a build says of one of its steps, as an event: a module of its own, which loads nothing."""

from __future__ import annotations

from lamina.events import Event

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal, TypeAlias

    #: "started", any number of "output" (a line of its output), "note" (a line about it) and "progress" (bytes), and
    #: one of "done", "cached", "failed" and "canceled" (it was stopped, or another step failed that it needs).
    Status: TypeAlias = Literal["started", "output", "note", "progress", "done", "cached", "failed", "canceled"]

_ENDS = ("done", "cached", "failed", "canceled")


class StepEvent(Event):
    """An event of a build. `task` is "build", `subject` the step's title, such as "[web 2/4] RUN make".

    `step` numbers the steps of a build from 1 in the order in which they start; 0 stands for the build as a whole.
    `stage` is the stage's name, or "stage-N"; `number` and `count` are the step's place among those of its stage (0
    where it belongs to none). `time` are seconds since the build began. `size` are the bytes of the files in the layer
    that a step made. `text` is the line of "output" and "note", and the reason of "failed". `finished` marks the end.
    """

    __slots__ = ("step", "stage", "number", "count", "status", "time", "size")

    def __init__(
        self,
        subject: str,
        status: Status,
        *,
        step: int,
        stage: str = "",
        number: int = 0,
        count: int = 0,
        time: float = 0.0,
        size: int = 0,
        done: int = 0,
        total: int = 0,
        text: str = "",
    ) -> None:
        super().__init__("build", subject, done=done, total=total, text=text, finished=status in _ENDS)
        self.step = step
        self.stage = stage
        self.number = number
        self.count = count
        self.status: Status = status
        self.time = time
        self.size = size
