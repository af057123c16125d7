"""Progress of long work: lines where there is no terminal, bars where there is one, and signals on the way."""

from __future__ import annotations

import io
import os
import signal
import threading
from typing import TextIO

import pytest

from lamina.cli.context import Context
from lamina.cli.progress import Watch
from lamina.events import Event


def context_with(err: TextIO, *, verbose: bool = False) -> Context:
    return Context({"TERM": "xterm"}, io.StringIO(), err, root=None, verbose=verbose, debug=False)


def test_lines_without_a_terminal() -> None:
    err = io.StringIO()
    with Watch(context_with(err)) as on_event:
        on_event(Event("import", "mine:1", done=10, total=100))
        on_event(Event("import", "mine:1", text="a \x1b[31m line"))
        on_event(Event("import", "mine:1", done=100, total=100, finished=True))
        on_event(Event("commit", "mine:1", finished=True))
    assert err.getvalue().splitlines() == [
        "lamina: import mine:1: a \\x1b[31m line",
        "lamina: import mine:1: done, 100B",
    ], "what is done at once needs no words"


def test_bars_on_a_terminal() -> None:
    master, slave = os.openpty()
    with open(slave, "w", encoding="utf-8") as err, open(master, "rb", buffering=0) as seen:
        with Watch(context_with(err)) as on_event:
            on_event(Event("import", "mine:[red]1", done=10, total=100))
            on_event(Event("import", "mine:[red]1", text="something"))
            assert threading.active_count() == 1, "the worker could not enter its user namespace any more"
            on_event(Event("import", "mine:[red]1", done=100, total=100, finished=True))
        err.flush()
        os.set_blocking(master, False)
        data = b""
        while piece := seen.read(1 << 16):  # a terminal gives a few kilobytes at a time, and None when it has no more
            data += piece
        text = data.decode()
    assert "import mine:[red]1" in text and "100/100 bytes" in text
    assert text.rstrip().endswith("\x1b[?25h"), "the cursor is shown again"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_work_in_order(number: signal.Signals) -> None:
    cleaned = []
    with pytest.raises(SystemExit) as ended, Watch(context_with(io.StringIO())):
        try:
            signal.raise_signal(number)
        finally:
            cleaned.append(number)
    assert ended.value.code == 128 + number
    assert cleaned == [number]
    assert signal.getsignal(number) == signal.SIG_DFL


def test_an_ignored_signal_stays_ignored() -> None:
    """A program below nohup is not to end with the terminal."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Watch(context_with(io.StringIO())):
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)
