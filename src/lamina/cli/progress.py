"""Progress of long work from its events: bars on a terminal, lines elsewhere, both on stderr.

Rich draws the bars; it takes 40 ms to load, which is why nothing is loaded before an event arrives.
"""

from __future__ import annotations

import signal
import sys
from time import monotonic

from lamina.cli.text import size
from lamina.errors import one_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType, TracebackType
    from typing import Any, Protocol

    from rich.progress import Progress, TaskID

    from lamina.cli.context import Context
    from lamina.events import Event

    class Display(Protocol):
        """Shows events one after the other, until it is closed."""

        def show(self, event: Event) -> None: ...

        def close(self) -> None: ...


_BETWEEN_DRAWINGS = 0.1  # seconds
_BETWEEN_LINES = 10.0  # seconds between lines about the same task where there is no terminal


class Terminated(BaseException):
    """A signal that ends programs arrived: raised so that what is half made is removed on the way out."""


class Watch:
    """Show the events of work that is done inside the block; call it with each.

    Inside the block SIGINT, SIGTERM and SIGHUP raise `Terminated`, so that temporary files go; then the process ends
    with the status that the signal would have given it.

    `form` is "auto" (bars on a terminal, lines elsewhere), "plain" (lines), "rawjson" (an object a line), or a display
    of its own.
    """

    def __init__(self, context: Context, form: str | Display = "auto") -> None:
        self._display: Display
        if not isinstance(form, str):
            self._display = form
        elif form == "rawjson":
            self._display = Objects(context)
        elif form == "auto" and context.err.isatty() and not context.verbose:
            self._display = _Bars(context)
        else:
            self._display = _Lines(context)
        self._handlers: dict[int, Any] = {}
        self._received = 0

    def __enter__(self) -> Watch:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                self._handlers[number] = signal.signal(number, self._end)
        return self

    def __call__(self, event: Event) -> None:
        self._display.show(event)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, before in self._handlers.items():
            signal.signal(number, before)
        self._display.close()
        if self._received:  # whatever became of `Terminated`: within an import it may have become another error
            sys.exit(128 + self._received)

    def _end(self, number: int, frame: FrameType | None) -> None:
        self._received = number
        raise Terminated


class Objects:
    """Every event as JSON on a line of its own: docs/reference/json.md."""

    def __init__(self, context: Context) -> None:
        self._err = context.err

    def show(self, event: Event) -> None:
        """Write an event."""
        import json

        fields = {name.capitalize(): value for name, value in event.fields().items()}
        self._err.write(json.dumps(fields) + "\n")
        self._err.flush()

    def close(self) -> None:
        """Nothing is open."""


class _Lines:
    """A line for each text and, of a task that takes long, how far it is and that it is finished."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._last: dict[tuple[str, str], float] = {}
        self._told: set[tuple[str, str]] = set()

    def show(self, event: Event) -> None:
        key, now = (event.task, event.subject), monotonic()
        what = f"{event.task} {event.subject}"
        if event.text:
            self._context.note(f"{what}: {event.text}")
        elif event.finished:
            if key in self._told:
                self._context.note(f"{what}: done{f', {size(event.done)}' if event.done else ''}")
            return
        elif now - self._last.setdefault(key, now) < _BETWEEN_LINES:
            return
        elif event.done:
            self._context.note(f"{what}: {size(event.done)}{f' of {size(event.total)}' if event.total else ''}")
        self._last[key] = now
        self._told.add(key)

    def close(self) -> None:
        """Nothing is open."""


class _Bars:
    """A bar for each task, redrawn in place."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._progress: Progress | None = None
        self._drawn = 0.0
        self._tasks: dict[tuple[str, str], TaskID] = {}

    def show(self, event: Event) -> None:
        progress = self._progress = self._progress or _started(self._context)
        key = (event.task, event.subject)
        if key not in self._tasks:
            self._tasks[key] = progress.add_task(one_line(f"{event.task} {event.subject}"), total=None, text="")
        task = self._tasks[key]
        progress.update(task, completed=event.done or None, total=event.total or None)
        if event.text:
            progress.update(task, text=one_line(event.text))
        if event.finished:
            done = progress.tasks[task].completed or 1
            progress.update(task, total=done, completed=done, text="done")
        if event.finished or monotonic() - self._drawn > _BETWEEN_DRAWINGS:
            progress.refresh()
            self._drawn = monotonic()

    def close(self) -> None:
        if self._progress is not None:
            self._progress.stop()


def _started(context: Context) -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.table import Column

    progress = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        DownloadColumn(),
        TimeElapsedColumn(),
        TextColumn(
            "{task.fields[text]}", markup=False, table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")
        ),
        console=Console(file=context.err),
        auto_refresh=False,  # would be a second thread, and a process with two cannot enter a user namespace
        expand=True,
    )
    progress.start()
    return progress
