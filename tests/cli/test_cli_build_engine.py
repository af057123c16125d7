"""How `lamina build` carries out steps: once each, side by side, and stopped by Ctrl-C."""

from __future__ import annotations

import errno
import json
import os
import pty
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.helpers.command import Done, Lamina, program, run
from tests.helpers.dockerfiles import write
from tests.helpers.wait import until

pytestmark = pytest.mark.requires("overlay", "userns")

# A step that leaves a line in a cache mount each time it is carried out.
ONCE = "RUN --mount=type=cache,target=/runs echo run >>/runs/%s && sleep %s"
COUNT = "RUN --mount=type=cache,target=/runs cat /runs/%s >/count"


def build(lamina: Lamina, context: Path, *words: str, status: int = 0) -> Done:
    return lamina("build", "--progress", "plain", "-t", "built:1", *words, str(context), status=status)


def start(lamina: Lamina, context: Path, *words: str) -> subprocess.Popen[str]:
    argv = [*program(), "build", "--progress", "plain", *words, str(context)]
    return subprocess.Popen(argv, env=lamina.environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def count(lamina: Lamina) -> int:
    return len(lamina("run", "--rm", "built:1", "cat", "/count").stdout.split())


@pytest.mark.parametrize("words", [(), ("--no-cache",)])
def test_stages_with_the_same_step_carry_it_out_once(lamina: Lamina, context: Path, words: tuple[str, ...]) -> None:
    step = ONCE % ("stages", "0.2")
    write(
        context,
        "FROM base:1 AS one", step, "RUN echo 1 >/one",
        "FROM base:1 AS two", step, "RUN echo 2 >/two",
        "FROM base:1 AS three", step, "RUN echo 3 >/three",
        "FROM base:1", "COPY --from=one /one /", "COPY --from=two /two /", "COPY --from=three /three /",
        COUNT % "stages",
    )  # fmt: skip
    build(lamina, context, *words)
    assert count(lamina) == 1
    assert lamina("run", "--rm", "built:1", "cat", "/one", "/two", "/three").stdout == "1\n2\n3\n"


def test_every_step_tells_its_end_once_and_what_its_layer_holds(lamina: Lamina, context: Path) -> None:
    write(context, "FROM base:1", "RUN echo 12345 >/file", "RUN true", "COPY Dockerfile /", "WORKDIR /srv")
    for ends, sizes in (
        ("done", {"FROM": 0, "RUN": 6, "COPY": (context / "Dockerfile").stat().st_size}),
        ("cached", {}),
    ):
        said = lamina("build", "--progress", "rawjson", str(context)).stderr
        events = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
        ended = [event for event in events if event["Stage"] and event["Finished"]]
        assert sorted(event["Number"] for event in ended) == [1, 2, 3, 4, 5]
        assert {event["Status"] for event in ended if event["Number"] > 1} == {ends}
        for word, expected in sizes.items():
            assert max(event["Size"] for event in ended if f" {word} " in event["Subject"]) == expected


def test_two_builds_at_once_carry_a_step_out_once(lamina: Lamina, context: Path) -> None:
    write(context, "FROM base:1", ONCE % ("builds", "0.5"))
    builds = [start(lamina, context, "-t", f"built:{number}") for number in range(2)]
    said = [each.communicate(timeout=60)[0] for each in builds]
    assert [each.returncode for each in builds] == [0, 0], said
    assert sum("waiting for the same step" in text for text in said) == 1, said
    write(context, "FROM base:1", COUNT % "builds")
    build(lamina, context, "--no-cache")
    assert count(lamina) == 1


def test_whoever_waits_for_a_build_that_is_killed_goes_on(lamina: Lamina, context: Path) -> None:
    write(
        context, "FROM base:1", "RUN --mount=type=cache,target=/c touch /c/began; [ -e /c/go ] || sleep 60; echo 1 >/1"
    )
    first = start(lamina, context)
    caches = lamina.store / "build" / "cache"
    until(lambda: list(caches.glob("*/began")), "the step runs")
    second = start(lamina, context, "-t", "built:1")
    output = second.stdout
    assert output is not None
    until(lambda: "waiting for the same step" in output.readline(), "the second waits")
    (cache,) = (path.parent for path in caches.glob("*/began"))
    (cache / "go").touch()
    first.kill()
    first.communicate(timeout=10)
    second.communicate(timeout=30)
    assert second.returncode == 0
    assert lamina("run", "--rm", "built:1", "cat", "/1").stdout == "1\n"


def test_ctrl_c_stops_every_stage_and_loses_no_finished_step(lamina: Lamina, context: Path) -> None:
    write(
        context,
        "FROM base:1 AS one", "RUN echo 1 >/one", "RUN echo began-one; sleep 60",
        "FROM base:1 AS two", "RUN echo 2 >/two", "RUN echo began-two; sleep 60",
        "FROM scratch", "COPY --from=one /one /", "COPY --from=two /two /",
    )  # fmt: skip
    running = start(lamina, context, "-t", "built:1")
    assert running.stdout is not None
    said = ""
    while not re.search(r" began-one\n", said) or not re.search(r" began-two\n", said):
        line = running.stdout.readline()
        assert line, said
        said += line
    began = time.monotonic()
    running.send_signal(signal.SIGINT)
    said += running.communicate(timeout=10)[0]
    assert running.returncode == 130, said
    assert time.monotonic() - began < 2.5, said  # a second, on a machine that does nothing else
    lamina("inspect", "built:1", status=125)
    assert not list((lamina.store / "staging").iterdir())
    text = (context / "Dockerfile").read_text().replace("sleep 60", "sleep 0")
    (context / "Dockerfile").write_text(text)
    again = build(lamina, context)
    assert again.stderr.count("CACHED") == 2, again.stderr


def test_a_failing_stage_stops_the_others(lamina: Lamina, context: Path) -> None:
    write(
        context,
        "FROM base:1 AS slow", "RUN sleep 60",
        "FROM base:1 AS bad", "RUN --mount=type=cache,target=/c echo bad; exit 7",
        "FROM scratch", "COPY --from=slow /bin/sh /", "COPY --from=bad /bin/sh /",
    )  # fmt: skip
    began = time.monotonic()
    done = build(lamina, context, status=125)
    assert re.search(r"^#\d+ ERROR: the command ended with status 7$", done.stderr, re.M)
    assert re.search(r"^lamina: .*Dockerfile:4: RUN .*status 7$", done.stderr, re.M)
    assert done.stderr.count("status 7") == 2  # beside the step, and with its place at the end
    assert time.monotonic() - began < 30
    assert not list((lamina.store / "staging").iterdir())


def test_a_step_that_changes_nothing_makes_no_layer(lamina: Lamina, context: Path) -> None:
    write(context, "FROM base:1", "RUN true", "RUN echo 1 >/file", "WORKDIR /", "RUN cat /file")
    build(lamina, context)
    history = json.loads(lamina("history", "--format", "json", "built:1").stdout)
    assert [step["Empty"] for step in history] == [True, True, False, True, False]
    first = lamina("inspect", "built:1").stdout
    assert build(lamina, context).stderr.count("CACHED") == 4
    assert lamina("inspect", "built:1").stdout == first


def test_copy_from_a_stage_goes_by_what_it_takes(lamina: Lamina, context: Path) -> None:
    lines = [
        "FROM base:1 AS made",
        "RUN echo 1 >/result",
        "FROM base:1",
        "COPY --from=made /result /",
        "RUN echo 2 >/2",
    ]
    build(lamina, write(context, *lines))
    lines[1] = "RUN echo noise >/noise; echo 1 >/result"
    done = build(lamina, write(context, *lines), "--explain-cache")
    assert done.stderr.count("CACHED") == 2, done.stderr
    lines[1] = "RUN echo changed >/result"
    done = build(lamina, write(context, *lines), "--explain-cache")
    assert done.stderr.count("CACHED") == 0, done.stderr
    assert "contents of result changed" in done.stderr


def test_a_miss_names_the_build_argument(lamina: Lamina, context: Path) -> None:
    write(context, "FROM base:1", "ARG VERSION", "RUN echo $VERSION >/version", "RUN true")
    build(lamina, context, "--build-arg", "VERSION=1")
    done = build(lamina, context, "--build-arg", "VERSION=2", "--explain-cache")
    assert "not from the cache: build argument VERSION changed" in done.stderr
    assert "build argument VERSION changed; the step above changed" in done.stderr


def test_an_unchanged_context_is_not_read_again(lamina: Lamina, context: Path) -> None:
    (context / "file").write_text("1")
    (context / "other").write_text("1")
    os.utime(context / "file", ns=(10**18, 10**18))
    write(context, "FROM base:1", "COPY file other /")
    before = (context / "file").stat().st_ctime_ns + 40_000_000
    until(lambda: time.time_ns() > before, "the change is old enough to be trusted")
    build(lamina, context)
    (table,) = (lamina.store / "build" / "digests").iterdir()
    assert len(table.read_text().splitlines()) == 2
    # What the table says is believed: the files were not read.
    table.write_text("".join(f"{line[:-32]}{'0' * 32}\n" for line in table.read_text().splitlines()))
    assert "contents of file changed" in build(lamina, context, "--explain-cache").stderr


def test_a_command_that_does_not_exist_is_pointed_at(lamina: Lamina, context: Path) -> None:
    done = build(lamina, write(context, "FROM base:1", 'RUN ["/bin/nothing"]'), status=125)
    assert "Dockerfile:2" in done.stderr
    assert "/bin/nothing" in done.stderr


# Its first line is "me\n": a second run over what the first left makes it start with "me\nm".
FAILING = (
    "FROM base:1",
    "ARG WHO=me",
    "RUN echo before >/before",
    'RUN echo said; echo $WHO >>/after; [ "$(head -c4 /after)" = "$(echo me; echo -n m)" ] || exit 9',
)


def test_what_a_failed_command_left_can_be_looked_at(lamina: Lamina, context: Path) -> None:
    done = build(lamina, write(context, *FAILING), status=125)
    assert "Dockerfile:4" in done.stderr
    assert "status 9" in done.stderr
    assert "built:1@failed" in done.stderr
    lamina("inspect", "built:1", status=125)
    for name in ("built:1", "build"):
        assert lamina("run", "--rm", f"{name}@failed", "sh", "-c", "cat /before /after; echo $WHO").stdout == (
            "before\nme\nme\n"
        )
        assert lamina(
            "run", "--rm", f"{name}@before-failed", "sh", "-c", "cat /before; ls /after", status=2
        ).stdout == ("before\n")
    assert lamina("run", "--rm", "-i", "build@failed", input="echo typed\n").stdout == "typed\n"
    lamina("prune", "--force")
    assert "no failure" in lamina("run", "--rm", "build@failed", status=125).stderr
    assert not list((lamina.store / "build" / "uppers").iterdir())


def test_resume_runs_a_failed_command_over_what_it_left(lamina: Lamina, context: Path) -> None:
    write(context, *FAILING, "RUN echo next >/next")
    build(lamina, context, status=125)
    done = build(lamina, context, "--resume")
    assert "over what the failed command left" in done.stderr
    assert lamina("run", "--rm", "built:1", "cat", "/after", "/next").stdout == "me\nme\nnext\n"
    again = build(lamina, context, "--resume")
    assert again.stdout == done.stdout
    assert again.stderr.count("CACHED") == 3
    # What came of it is not taken for what the command makes from its start.
    build(lamina, context, status=125)


def test_a_shell_is_opened_over_what_a_failed_command_left(lamina: Lamina, context: Path) -> None:
    argv = [*program(), "build", "--progress", "plain", "--shell-on-fail", str(write(context, *FAILING))]
    master, slave = pty.openpty()
    shell = subprocess.Popen(argv, env=lamina.environment(), stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    os.write(master, b"cat /after /before; exit\n")
    said = b""
    try:
        while piece := os.read(master, 4096):
            said += piece
    except OSError as error:  # EIO: the last process with the terminal has ended
        assert error.errno == errno.EIO
    finally:
        os.close(master)
    assert shell.wait(10) == 125, said
    assert b"me\r\nbefore\r\n" in said
    assert b"status 9" in said
    done = lamina("build", "--shell-on-fail", str(context), status=125)
    assert "no terminal" in done.stderr


def test_memory_does_not_grow_with_the_files(lamina: Lamina, context: Path) -> None:
    """A build that copies 2 GiB, none of whose processes may have more than 150 MiB."""
    with open(context / "large", "wb") as file:
        file.truncate(2 << 30)  # mostly a hole, which is read and hashed as what it stands for
        file.seek(1 << 30)
        file.write(os.urandom(1 << 20))
    write(context, "FROM base:1", "COPY large /")
    argv = ["prlimit", f"--data={150 << 20}", *program(), "build", "-t", "built:1", str(context)]
    done = run(argv, env=lamina.environment(), cwd=lamina.cwd)
    assert "COPY large" in done.stderr
    assert lamina("inspect", "built:1").stdout
