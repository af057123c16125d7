"""What `lamina build` shows while it works: the steps as numbered lines, as JSON, or not at all.

Lines look as those of docker's builder: a step's number and title, its output with the seconds since it began, and how
it ended. The output of steps is foreign: sequences that drive a terminal are taken out, other control characters shown.
"""

from __future__ import annotations

from lamina.build.stepevent import StepEvent
from lamina.cli.progress import Objects
from lamina.cli.text import size
from lamina.errors import one_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lamina.cli.context import Context
    from lamina.cli.progress import Display
    from lamina.events import Event


# CSI and OSC sequences, and the two-character escapes (ECMA-48).
_SEQUENCES = r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~])"


def make_display(context: Context, form: str) -> Display:
    """Return what shows the events of a build; `form` is what --progress says."""
    if form == "rawjson":
        return Objects(context)
    if form == "quiet":
        return Quiet()
    if form == "tty" or (form == "auto" and context.err.isatty() and context.environ.get("TERM", "dumb") != "dumb"):
        from lamina.cli.build_terminal import Terminal

        return Terminal(context)
    return Lines(context)


def shown(line: str) -> str:
    """Return a line of a step's output as a terminal may have it: of what overwrites itself, the last state."""
    last = next((part for part in reversed(line.split("\r")) if part), "")
    if "\x1b" in last:
        import re  # not needed where everything comes from the cache

        last = re.sub(_SEQUENCES, "", last)
    return one_line(last.expandtabs())


class Quiet:
    """Shows nothing."""

    def show(self, event: Event) -> None:
        """Take an event."""

    def close(self) -> None:
        """Nothing is open."""


class Lines:
    """Numbered lines, the steps' output among them; one that goes on after another has spoken is named again."""

    def __init__(self, context: Context) -> None:
        self._err = context.err
        self._began: dict[int, float] = {}
        self._current = 0

    def show(self, event: Event) -> None:
        """Write the lines of an event."""
        if not isinstance(event, StepEvent):
            if event.text:
                self._err.write(f"{one_line(f'{event.task} {event.subject}: {event.text}')}\n")
        elif not event.step:
            self._err.write(f"{one_line(event.text)}\n")
        elif event.status != "progress":
            self._show_step(event)
        self._err.flush()

    def close(self) -> None:
        """Nothing is open."""

    def _show_step(self, event: StepEvent) -> None:
        began = self._began.setdefault(event.step, event.time)
        if event.step != self._current:
            self._err.write(f"\n#{event.step} {one_line(event.subject)}\n")
            self._current = event.step
        if event.status != "started":
            self._err.write(f"#{event.step} {_line(event, event.time - began)}\n")
        if event.finished:
            self._current = 0


def _line(event: StepEvent, seconds: float) -> str:
    match event.status:
        case "output":
            return f"{seconds:.3f} {shown(event.text)}"
        case "done":
            return f"DONE {seconds:.1f}s{f', {size(event.size)}' if event.size else ''}"
        case "failed":
            return f"ERROR: {one_line(event.text)}"
        case "note":
            return one_line(event.text)
        case other:
            return other.upper()
