"""What long work reports while it goes on.

A callback takes one `Event` at a time, in the order in which things happen, from the thread that does the work. The
command line draws bars and lines from these; nothing here prints.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias


class Event:
    """One step of something that takes time.

    `task` names the work ("import", "bootstrap", "commit"), `subject` the thing it is done to. `done` and `total` are
    bytes; `total` is 0 where it is not known. `text` is a line for people, or empty. `finished` is true once a task.
    """

    __slots__ = ("task", "subject", "done", "total", "text", "finished")

    def __init__(
        self, task: str, subject: str, *, done: int = 0, total: int = 0, text: str = "", finished: bool = False
    ) -> None:
        self.task = task
        self.subject = subject
        self.done = done
        self.total = total
        self.text = text
        self.finished = finished

    def fields(self) -> dict[str, object]:
        """Return everything that the event says, by name."""
        kinds = (kind for kind in reversed(type(self).__mro__) if issubclass(kind, Event))
        return {name: getattr(self, name) for kind in kinds for name in kind.__slots__}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.fields().items())})"


OnEvent: TypeAlias = "Callable[[Event], None]"


def ignore(event: Event) -> None:
    """Take an event and do nothing: the callback of those who do not ask for one."""
