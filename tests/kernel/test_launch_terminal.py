"""`-t`: a terminal of the container's own, seen from both ends."""

from __future__ import annotations

import fcntl
import os
import signal
import struct
import termios
from collections.abc import Iterator

import pytest

from tests.helpers.boxes import running, send
from tests.helpers.command import Lamina
from tests.helpers.wait import until

pytestmark = pytest.mark.requires("overlay", "userns")


class Keyboard:
    """The person's side of a terminal: what is typed, and what is shown."""

    def __init__(self) -> None:
        self.master, self.slave = os.openpty()
        os.set_blocking(self.master, False)
        self.shown = b""
        self.resize(24, 80)

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text: bytes) -> None:
        assert os.write(self.master, text) == len(text)

    def wait_for(self, text: bytes) -> None:
        until(lambda: text in self._read(), f"{text!r} on the terminal", seconds=20)
        self.shown = self.shown.partition(text)[2]

    def _read(self) -> bytes:
        try:
            self.shown += os.read(self.master, 65536)
        except BlockingIOError:
            pass
        return self.shown

    def mode(self) -> list[object]:
        return termios.tcgetattr(self.slave)

    def is_raw(self) -> bool:
        return not termios.tcgetattr(self.slave)[3] & termios.ICANON


@pytest.fixture
def keyboard() -> Iterator[Keyboard]:
    made = Keyboard()
    yield made
    os.close(made.master)
    os.close(made.slave)


def test_a_session(lamina: Lamina, keyboard: Keyboard) -> None:
    before = keyboard.mode()
    keyboard.resize(31, 87)
    code = 'stty size; tty; test -t 0 && test -t 1 && test -t 2 && echo three; echo $TERM; read line; echo "<$line>"'
    with running(
        lamina, "run", "--rm", "-it", "host", "sh", "-c", code, stdin=keyboard.slave, stdout=keyboard.slave
    ) as process:
        keyboard.wait_for(b"31 87\r\n/dev/pts/0\r\nthree\r\n")
        until(keyboard.is_raw, "the terminal is raw")
        keyboard.type(b"typed\r")
        keyboard.wait_for(b"<typed>\r\n")
        assert process.wait() == 0
    assert keyboard.mode() == before


def test_keys_and_window_size_reach_the_command(lamina: Lamina, keyboard: Keyboard) -> None:
    code = (
        "trap 'echo interrupted' INT; trap 'stty size' WINCH; trap 'exit 5' TERM; echo up; while :; do sleep 0.05; done"
    )
    with running(
        lamina, "run", "--rm", "-it", "host", "sh", "-c", code, stdin=keyboard.slave, stdout=keyboard.slave
    ) as process:
        keyboard.wait_for(b"up")
        until(keyboard.is_raw, "the terminal is raw")
        keyboard.type(b"\x03")
        keyboard.wait_for(b"interrupted")
        keyboard.resize(10, 20)
        send(process, signal.SIGWINCH)
        keyboard.wait_for(b"10 20")
        send(process, signal.SIGTERM)
        assert process.wait() == 5


def test_the_mode_is_restored_when_the_container_is_killed(lamina: Lamina, keyboard: Keyboard) -> None:
    before = keyboard.mode()
    words = ("run", "--rm", "-it", "host", "sh", "-c", "echo up; sleep 60")
    with running(lamina, *words, stdin=keyboard.slave, stdout=keyboard.slave) as process:
        keyboard.wait_for(b"up")
        until(keyboard.is_raw, "the terminal is raw")
        assert _kill_first(process.pid)
        assert process.wait() == 137
    assert keyboard.mode() == before


def _kill_first(pid: int) -> bool:
    """Kill C1, the parent of the container's first process."""
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        children = file.read().split()
    if children:
        os.kill(int(children[0]), signal.SIGKILL)
    return bool(children)


def test_a_command_that_does_not_exist(lamina: Lamina, keyboard: Keyboard) -> None:
    before = keyboard.mode()
    words = ("run", "--rm", "-it", "host", "no-such-command")
    with running(lamina, *words, stdin=keyboard.slave) as process:
        assert process.stdout is not None
        assert process.stdout.read().count(b"\n") == 1, "and no warning of a socket left open"
        assert process.wait() == 127
    assert keyboard.mode() == before


def test_large_input_and_output(lamina: Lamina) -> None:
    text = "".join(f"{number:079}\n" for number in range(2500))  # 200 kB: more than a terminal holds
    done = lamina("run", "--rm", "-it", "host", "sh", "-c", "stty -echo; cat", input=text, seconds=60)
    shown = done.stdout.replace("\r\n", "\n")
    assert shown.endswith(text[-80 * 1000 :]), "all of it, also what was written last"
    assert done.status == 0


def test_the_end_of_the_input_within_a_line(lamina: Lamina) -> None:
    done = lamina("run", "--rm", "-it", "host", "sh", "-c", "stty -echo; cat", input="no newline", seconds=30)
    assert done.stdout.endswith("no newline")


def test_a_reader_that_goes_away(lamina: Lamina) -> None:
    read, write = os.pipe()
    with running(lamina, "run", "--rm", "-t", "host", "sh", "-c", "while :; do echo x; done", stdout=write) as process:
        os.close(write)
        assert os.read(read, 1) == b"x"
        os.close(read)
        assert process.wait(timeout=8) != 0
    assert lamina("ps", "-aq").stdout == ""


def test_its_names(lamina: Lamina) -> None:
    code = "echo one >/dev/tty; echo two >/dev/console; echo three >$(tty)"
    assert lamina("run", "--rm", "-t", "host", "sh", "-c", code).stdout == "one\r\ntwo\r\nthree\r\n"
