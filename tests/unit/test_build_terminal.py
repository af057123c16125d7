"""The steps of a build on a terminal: what a screen shows, whatever its size, and whatever the steps say."""

from __future__ import annotations

import fcntl
import io
import os
import re
import struct
import termios
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

import pytest

from lamina.build.progress import Progress
from lamina.cli.build_progress import make_display
from lamina.cli.build_terminal import Terminal
from lamina.cli.context import Context
from tests.helpers.wait import until

_SEQUENCE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Screen:
    """A pseudo-terminal and what was written to it."""

    def __init__(self, columns: int, lines: int) -> None:
        self._master, self._slave = os.openpty()
        os.set_blocking(self._master, False)
        self.resize(columns, lines)
        self.err: TextIO = open(self._slave, "w", encoding="utf-8")  # noqa: SIM115  # `close` does
        self.written = ""

    def resize(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self._slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def read(self) -> str:
        """Return everything that was written so far."""
        self.err.flush()
        while True:
            try:
                self.written += os.read(self._master, 1 << 16).decode()
            except BlockingIOError:
                return self.written

    def last_drawing(self) -> list[str]:
        """Return the lines of the newest picture, without the sequences."""
        newest = self.read()[self.read().rindex("[+] Building") :]
        return [_SEQUENCE.sub("", line).rstrip() for line in newest.replace("\r", "").split("\n")]

    def close(self) -> None:
        self.err.close()
        os.close(self._master)


@contextmanager
def watched(columns: int, lines: int = 24) -> Iterator[tuple[Screen, Progress, Callable[[], None]]]:
    """Yield a screen, the progress that is shown on it, and what ends the display."""
    screen = Screen(columns, lines)
    context = Context({"TERM": "xterm"}, io.StringIO(), screen.err, root=None, verbose=False, debug=False)
    display = make_display(context, "auto")
    assert isinstance(display, Terminal)
    try:
        yield screen, Progress(display.show), display.close
    finally:
        display.close()
        screen.close()


def test_steps_are_drawn_as_people_know_them() -> None:
    with watched(80) as (screen, progress, end):
        progress.note("one id is all there is")
        with progress.step("FROM debian:12", stage="web", number=1, count=3):
            pass
        with progress.step("COPY a b", stage="web", number=2, count=3) as copy:
            copy.cached()
        with progress.step("RUN make", stage="web", number=3, count=3) as make:
            for number in range(20):
                make.output(f"line {number} \x1b[2J\x1b]0;title\x07\x1b[31mred")
            until(lambda: "line 19" in screen.read(), "the clock draws what came last")
            running = screen.last_drawing()
            assert any(re.fullmatch(r" => \[web 3/3\] RUN make +\d+\.\ds", line) for line in running)
            assert sum("# line" in line for line in running) == 6, "the tail of the output"
            make.defer()
        make.end(1_500_000)
        end()
        final = screen.last_drawing()
        assert re.fullmatch(r"\[\+\] Building \d+\.\ds \(3/3\) FINISHED", final[0])
        assert final[1] == "one id is all there is"
        assert final[3].startswith(" => CACHED [web 2/3] COPY a b")
        assert "1.5MB" in final[4] and not any("# line" in line for line in final)
        written = screen.read()
        assert "\x1b[2J" not in written and "\x1b]0;" not in written and "\x07" not in written
        assert written.rstrip().endswith("\x1b[?25h"), "the cursor is shown again"


def test_a_failed_step_shows_its_output() -> None:
    with watched(80) as (screen, progress, end):
        with pytest.raises(ValueError, match="status 1"), progress.step("RUN false") as step:
            step.output("what went wrong")
            raise ValueError("status 1")
        end()
        final = screen.last_drawing()
        assert final[1].startswith(" => ERROR RUN false")
        assert final[2] == " > what went wrong"


@pytest.mark.parametrize("columns", [1, 10, 20, 40, 200])
def test_no_line_is_longer_than_the_screen(columns: int) -> None:
    with watched(columns, 8) as (screen, progress, end):
        with progress.step("RUN " + "wide \u4e16\u754c " * 30, stage="s", number=1, count=1) as step:
            for number in range(50):
                step.output(f"{number} " + "x" * 300)
            step.note("n" * 300)
        end()
        for line in _SEQUENCE.sub("", screen.read()).replace("\r", "\n").split("\n"):
            assert len(line) <= columns


def test_a_screen_that_changes_its_size_is_drawn_as_it_is_now() -> None:
    with watched(120, 30) as (screen, progress, end):
        with progress.step("RUN sleep") as step:
            step.output("x" * 200)
            until(lambda: "# x" in screen.read(), "the output is drawn")
            screen.resize(30, 4)
            screen.read()
            screen.written = ""
            step.output("y" * 200)
            until(lambda: "# y" in screen.read(), "the output is drawn anew")
            assert max(map(len, screen.last_drawing())) <= 30
            assert len(screen.last_drawing()) <= 4
        end()


def test_more_steps_than_lines_leave_the_screen_in_place() -> None:
    with watched(60, 6) as (screen, progress, end):
        with progress.step("RUN long") as step:
            for number in range(30):
                with progress.step(f"COPY {number}"):
                    pass
            step.output("said")
            until(lambda: "COPY 29" in screen.read(), "the last step is drawn")
            assert len(screen.last_drawing()) <= 6
        end()
        assert sum("COPY" in line for line in screen.last_drawing()) == 30, "all of them are there at the end"
