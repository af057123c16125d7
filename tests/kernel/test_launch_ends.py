"""How a command ends: exit statuses, signals passed on, --init, and a caller that goes away."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.helpers.boxes import children_of, expect_gone, make_image, read_line, running, send
from tests.helpers.command import Lamina, program, run
from tests.helpers.wait import until

pytestmark = pytest.mark.requires("overlay", "userns")


@pytest.fixture
def image() -> str:
    return "host"


def test_statuses(lamina: Lamina, scratch: Path) -> None:
    make = scratch / "rootfs"
    make_image(lamina, scratch)
    (make / "bin" / "lost").write_text("#!/no/such/interpreter\n")
    (make / "bin" / "noise").write_text("neither script nor program\n")
    for name in ("lost", "noise"):
        (make / "bin" / name).chmod(0o755)
    lamina("import", make, "odd:1")
    for words, status, said in [
        (("sh", "-c", "exit 7"), 7, ""),
        (("true",), 0, ""),
        (("sh", "-c", "exit 255"), 255, ""),
        (("no-such-command",), 127, "lamina: cannot run no-such-command: it is in no directory of PATH"),
        (("/no/such/file",), 127, "lamina: cannot run /no/such/file: no such file"),
        (("lost",), 127, "the interpreter or loader that it names does not exist"),
        (("noise",), 126, "Exec format error"),
        (("/etc/passwd",), 126, "lamina: cannot run /etc/passwd: permission denied"),
        (("/etc",), 126, "lamina: cannot run /etc: it is a directory"),
    ]:
        done = lamina("run", "--rm", "odd:1", *words, status=status)
        assert said in done.stderr, words
        assert done.stderr.count("\n") == (1 if said else 0), done.stderr
    assert lamina("ps", "-aq").stdout == ""


def test_a_death_by_signal(lamina: Lamina, image: str) -> None:
    lamina("run", "--rm", image, "sh", "-c", "sh -c 'kill -KILL $$'; exit $?", status=137)
    lamina("run", "--rm", "--init", image, "sh", "-c", "kill -TERM $$; sleep 60", status=143)
    lamina("run", "--rm", "--init", image, "sh", "-c", "kill -SEGV $$; sleep 60", status=139)


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1,
                                    signal.SIGUSR2, signal.SIGWINCH])  # fmt: skip
def test_signals_reach_the_command_once(lamina: Lamina, image: str, number: signal.Signals) -> None:
    name = number.name.removeprefix("SIG")
    code = f"trap 'echo got; n=1' {name}; n=; echo up; while [ -z $n ]; do sleep 0.02; done; sleep 0.1; exit 9"
    for init in ((), ("--init",)):
        with running(lamina, "run", "--rm", *init, image, "sh", "-c", code) as process:
            read_line(process, "up")
            send(process, number)
            read_line(process, "got")
            assert process.stdout is not None
            assert process.stdout.read() == b"", "no second delivery"
            assert process.wait() == 9


def test_signals_that_come_too_early_are_kept(lamina: Lamina, image: str) -> None:
    with running(lamina, "run", "--rm", "--init", image, "sleep", "60") as process:
        # As soon as its handlers stand (SIGUSR1 is caught), long before the command is executed.
        while not _catches(process.pid, signal.SIGUSR1):
            assert process.poll() is None
        send(process, signal.SIGTERM)
        assert process.wait() == 143


def _catches(pid: int, number: signal.Signals) -> bool:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (caught,) = (line.split()[1] for line in lines if line.startswith("SigCgt:"))
    return bool(int(caught, 16) >> (number - 1) & 1)


def test_init_reaps_orphans(lamina: Lamina, image: str) -> None:
    code = "for n in 1 2 3; do (sh -c 'sleep 0.02 &' &) ; done; sleep 0.3; cat /proc/[0-9]*/stat | grep -c ' Z ' || :"
    assert lamina("run", "--rm", "--init", image, "sh", "-c", code).stdout == "0\n"
    first = lamina("run", "--rm", "--init", image, "sh", "-c", "echo $$; readlink /proc/1/exe || echo closed").lines()
    assert first == ["2", "closed"], "nobody may look into the interpreter that is init"


def test_init_does_not_keep_the_output_open(lamina: Lamina, image: str) -> None:
    # The orphan closes its own streams; were init to hold them, the reader would wait for it.
    done = lamina("run", "--rm", "--init", image, "sh", "-c", "(sleep 60 >/dev/null 2>&1 &); echo x", seconds=30)
    assert done.stdout == "x\n"


@pytest.mark.parametrize("init", [(), ("--init",), ("-t",)])
def test_nothing_survives_a_killed_caller(lamina: Lamina, image: str, init: tuple[str, ...]) -> None:
    with running(lamina, "run", *init, image, "sh", "-c", "sleep 60 & echo up; sleep 60") as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == b"up"
        family = children_of(process.pid)
        assert len(family) >= 3
        process.kill()
        expect_gone(family)
    assert lamina("ps", "-aq").stdout != ""
    lamina("rm", "--all")


@pytest.mark.requires("root")
def test_a_set_id_command_does_not_survive_either(lamina: Lamina) -> None:
    read, write = os.pipe()  # where su waits for a password
    with running(lamina, "run", "-i", "-u", "65534:65534", "host", "su", "-c", "true", stdin=read) as process:
        os.close(read)
        until(lambda: any(_name(pid) == "su" for pid in children_of(process.pid)), "su runs")
        family = children_of(process.pid)
        process.kill()
        expect_gone(family)
    os.close(write)
    lamina("rm", "--all")


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def test_a_reader_that_goes_away(lamina: Lamina, image: str) -> None:
    read, write = os.pipe()
    code = "trap 'exit 3' PIPE; while echo x 2>/dev/null; do :; done; exit 4"
    with running(lamina, "run", "--rm", image, "sh", "-c", code, stdout=write) as process:
        os.close(write)
        assert os.read(read, 1) == b"x"
        os.close(read)
        assert process.wait() in (3, 4)


def test_standard_input(lamina: Lamina, image: str) -> None:
    assert lamina("run", "--rm", image, "cat", input="unseen").stdout == ""
    assert lamina("run", "--rm", "-i", image, "cat", input="seen").stdout == "seen"


@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"])
def test_closed_streams(lamina: Lamina, image: str, scratch: Path, closed: str) -> None:
    # What a closed stream becomes must be nothing of lamina's own (a lock, a pipe).
    (scratch / "seen").mkdir()
    look = "for n in 0 1 2; do readlink /proc/self/fd/$n; done >/mnt/streams"
    words = [*program(), "run", "--rm", "-i", "-v", f"{scratch}/seen:/mnt", image, "sh", "-c", look]
    run(["sh", "-c", f'"$@" {closed}', "sh", *words], env=lamina.environment(), cwd=scratch, seconds=60)
    seen = (scratch / "seen" / "streams").read_text()
    assert str(lamina.store) not in seen and "socket:" not in seen
    for number in range(3):
        if f"{number}>&-" in closed or f"{number}<&-" in closed:
            assert seen.splitlines()[number] in ("/dev/null", "/mnt/streams"), seen
