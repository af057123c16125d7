"""What a build reports, and the lines that are made of it."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator

import pytest

from lamina.build.progress import Progress
from lamina.build.stepevent import StepEvent
from lamina.cli.build_progress import Lines, shown
from lamina.cli.context import Context
from lamina.cli.progress import Objects
from lamina.events import Event, OnEvent


def context_with(err: io.StringIO) -> Context:
    return Context({}, io.StringIO(), err, root=None, verbose=False, debug=False)


def ticking(on_event: OnEvent) -> Progress:
    """Return a progress in which every event takes half a second."""
    times: Iterator[float] = (n / 2 for n in range(100))
    return Progress(on_event, clock=lambda: next(times))


def two_steps(on_event: OnEvent) -> None:
    progress = ticking(on_event)
    progress.note("one id is all there is")
    with progress.step("RUN make", stage="web", number=2, count=4) as make:
        make.output("cc \x1b[31mred\x1b[0m\x1b]0;title\x07 file.c")
        with progress.step("COPY a b", stage="stage-1", number=1, count=1) as copy:
            make.output("  1%\r100%")
            copy.note("not from the cache: contents of a changed")
            copy.cached()
        make.advance(5, 10)
        make.defer()
    make.end(1_234_567)


def test_steps_are_numbered_and_timed() -> None:
    events: list[Event] = []
    two_steps(events.append)
    assert all(isinstance(event, StepEvent) for event in events)
    told = [(e.step, e.status, e.time, e.finished) for e in events if isinstance(e, StepEvent)]
    assert told == [
        (0, "note", 0.5, False),
        (1, "started", 1.0, False),
        (1, "output", 1.5, False),
        (2, "started", 2.0, False),
        (1, "output", 2.5, False),
        (2, "note", 3.0, False),
        (2, "cached", 3.5, True),
        (1, "progress", 4.0, False),
        (1, "done", 4.5, True),
    ]
    assert events[1].subject == "[web 2/4] RUN make"
    assert "status='done'" in repr(events[-1])


def test_lines_name_a_step_again_after_another_has_spoken() -> None:
    err = io.StringIO()
    two_steps(Lines(context_with(err)).show)
    assert (
        err.getvalue()
        == """\
one id is all there is

#1 [web 2/4] RUN make
#1 0.500 cc red file.c

#2 [stage-1 1/1] COPY a b

#1 [web 2/4] RUN make
#1 1.500 100%

#2 [stage-1 1/1] COPY a b
#2 not from the cache: contents of a changed
#2 CACHED

#1 [web 2/4] RUN make
#1 DONE 3.5s, 1.23MB
"""
    )


def test_objects_say_everything() -> None:
    err = io.StringIO()
    two_steps(Objects(context_with(err)).show)
    first, *_, last = [json.loads(line) for line in err.getvalue().splitlines()]
    assert first == {
        "Task": "build", "Subject": "build", "Done": 0, "Total": 0, "Text": "one id is all there is", "Finished": False,
        "Step": 0, "Stage": "", "Number": 0, "Count": 0, "Status": "note", "Time": 0.5, "Size": 0,
    }  # fmt: skip
    assert (last["Status"], last["Stage"], last["Number"], last["Count"], last["Size"]) == (
        "done",
        "web",
        2,
        4,
        1234567,
    )


def test_what_a_failure_takes_with_it_is_canceled() -> None:
    events: list[Event] = []
    progress = ticking(events.append)
    error = ValueError("first\nlines")
    for title, raised in (("a", error), ("b", error), ("c", ValueError("other")), ("d", KeyboardInterrupt())):
        with pytest.raises(type(raised)), progress.step(title):
            raise raised
    ends = [(e.subject, e.status, e.text) for e in events if isinstance(e, StepEvent) and e.finished]
    assert ends == [
        ("a", "failed", "first\\nlines"), ("b", "canceled", ""), ("c", "failed", "other"), ("d", "canceled", ""),
    ]  # fmt: skip
    err = io.StringIO()
    for event in events:
        Lines(context_with(err)).show(event)
    assert "ERROR: first\\nlines" in err.getvalue()
    assert "CANCELED" in err.getvalue()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("plain", "plain"),
        ("\x1b[2J\x1b[1;1Hgone", "gone"),
        ("a\x1b(Bb\x1b7c", "abc"),
        ("\x1b]52;c;aGVsbG8=\x1b\\clip", "clip"),
        ("\x1b]0;never ended", ""),
        ("bell\x07 and \x9b31m eight bits", "bell\\x07 and \\x9b31m eight bits"),
        ("a\tb", "a       b"),
        ("10%\r20%\r", "20%"),
        ("\x1b", "\\x1b"),
        ("\x1b[", ""),
    ],
)
def test_no_output_drives_the_terminal(line: str, expected: str) -> None:
    assert shown(line) == expected
    assert shown(line).isprintable()
