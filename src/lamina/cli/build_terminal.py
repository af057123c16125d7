"""The steps of a build on a terminal, redrawn in place: running ones with the tail of their output, done ones folded.

Drawn anew with every event, but at most ten times a second, and twice a second while nothing happens, for the clocks.
At the end all steps stand there once, with the output of the one that failed. Rich draws, loaded at the first event.
"""

from __future__ import annotations

import os
import threading
from time import monotonic

from lamina.build.stepevent import StepEvent
from lamina.cli.build_progress import shown
from lamina.cli.text import cells, cut, pad, size
from lamina.errors import one_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rich.console import ConsoleDimensions
    from rich.live import Live
    from rich.text import Text

    from lamina.cli.context import Context
    from lamina.events import Event

_BETWEEN = 0.1  # seconds between two drawings
_TICK = 0.5  # seconds until the clocks are drawn again
_TAIL = 6  # lines of output of a running step
_KEPT = 200  # lines of output that are kept for a step that fails
_STYLES = {"done": "blue", "cached": "blue", "failed": "red", "canceled": "yellow"}


class _Row:
    """A step as it is drawn."""

    def __init__(self, event: StepEvent) -> None:
        self.title = one_line(event.subject)
        self.began = event.time
        self.last = event
        self.lines: list[str] = []
        self.notes: list[str] = []

    def take(self, event: StepEvent) -> None:
        """Take a further event."""
        if event.status == "output":
            self.lines = [*self.lines[1 - _KEPT :], shown(event.text)]
        elif event.status == "note":
            self.notes.append(one_line(event.text))
        self.last = event

    def draw(self, now: float, width: int, tail: int) -> list[tuple[str, str]]:
        """Return the lines of the step with their styles; `now` is seconds since the build began."""
        last = self.last
        ended = last.time if last.finished else now
        clock = f"{max(0.0, ended - self.began):.1f}s"
        mark = "CACHED " if last.status == "cached" else "ERROR " if last.status == "failed" else ""
        mark = "CANCELED " if last.status == "canceled" else mark
        more = f" {size(last.size)}" if last.size else ""
        if last.status == "progress" and last.done:
            more = f" {size(last.done)}{f' / {size(last.total)}' if last.total else ''}"
        lines = [(_justified(f" => {mark}{self.title}", f"{more} {clock}", width), _STYLES.get(last.status, ""))]
        lines += [(cut(f" => => {note}", width), "") for note in self.notes]
        if last.status == "failed":
            return lines + [(cut(f" > {line}", width), "") for line in self.lines[-20:]]
        if not last.finished and tail:
            lines += [(cut(f" => => # {line}", width), "dim") for line in self.lines[-tail:]]
        return lines


class Terminal:
    """Shows the steps on a terminal, from events that may come from any thread, one at a time."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._rows: dict[int, _Row] = {}
        self._notes: list[str] = []
        self._live: Live | None = None
        self._began = monotonic()
        self._drawn = 0.0
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._clock: threading.Thread | None = None

    def show(self, event: Event) -> None:
        """Take an event."""
        with self._lock:
            if not isinstance(event, StepEvent) or not event.step:
                self._notes += [one_line(event.text)] if event.text else []
            elif event.step in self._rows:
                self._rows[event.step].take(event)
            else:
                self._rows[event.step] = _Row(event)
            if self._live is None:
                self._live = self._started()
            if monotonic() - self._drawn > _BETWEEN:
                self._draw()

    def close(self) -> None:
        """Draw the last state, which stays, and give the cursor back."""
        self._closed.set()
        if self._clock is not None:
            self._clock.join()
        with self._lock:
            if self._live is not None:
                self._live.update(self._picture(whole=True))
                self._live.stop()

    def _started(self) -> Live:
        from rich.console import Console
        from rich.live import Live

        live = Live(
            console=Console(file=self._context.err),
            auto_refresh=False,
            redirect_stdout=False,
            redirect_stderr=False,
            vertical_overflow="visible",
        )
        live.start()
        # File jobs are done in a process beside this one, which may have threads therefore.
        self._clock = threading.Thread(target=self._tick, name="lamina-build-clock", daemon=True)
        self._clock.start()
        return live

    def _tick(self) -> None:
        while not self._closed.wait(_TICK):
            with self._lock:
                if monotonic() - self._drawn > _BETWEEN:
                    self._draw()

    def _draw(self) -> None:
        if self._live is not None:
            self._live.update(self._picture(whole=False), refresh=True)
            self._drawn = monotonic()

    def _picture(self, *, whole: bool) -> Text:
        """Return what is to be seen: everything with `whole`, else as much of the end as the screen holds."""
        from rich.text import Text

        assert self._live is not None
        # Rich asks the terminal of the standard streams, which need not be this one.
        size_now = self._live.console.size = _size_of(self._context)
        width, height = max(1, size_now.width - 1), size_now.height
        now = monotonic() - self._began
        rows = list(self._rows.values())
        ended = sum(row.last.finished for row in rows)
        state = "FINISHED" if whole and ended == len(rows) else ""
        header = f"[+] Building {now:.1f}s ({ended}/{len(rows)}) {state}".rstrip()
        running = sum(not row.last.finished for row in rows)
        tail = 0 if whole else min(_TAIL, max(0, (height - 2 - len(rows)) // max(1, running)))
        lines = [(cut(note, width), "yellow") for note in self._notes]
        for row in rows:
            lines += row.draw(now, width, tail)
        if not whole:
            lines = lines[-max(1, height - 2) :]
        text = Text(no_wrap=True, overflow="crop")
        for number, (line, style) in enumerate([(cut(header, width), "bold"), *lines]):
            text.append(("\n" if number else "") + line, style)
        return text


def _size_of(context: Context) -> ConsoleDimensions:
    from rich.console import ConsoleDimensions

    try:
        columns, lines = os.get_terminal_size(context.err.fileno())
    except (OSError, ValueError):  # no terminal, but --progress tty
        columns, lines = 80, 24
    return ConsoleDimensions(columns or 80, lines or 24)


def _justified(left: str, right: str, width: int) -> str:
    """Return both in one line of `width` columns: of the left as much as there is room for."""
    room = width - cells(right)
    return pad(cut(left, room), room) + right if room > 12 else cut(left, width)
