"""Containers in the tests of a start: a small image, and commands that are watched while they run."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.helpers.command import Lamina, program
from tests.helpers.rootfs import PROGRAMS, make_rootfs
from tests.helpers.wait import until

IMAGE = "tiny:1"
MORE = (*PROGRAMS, "chmod", "env", "grep", "hostname", "readlink", "stty")


def make_image(lamina: Lamina, scratch: Path) -> str:
    """Import a small image of this machine's own programs, and return its name."""
    make_rootfs(scratch / "rootfs", MORE)
    lamina("import", scratch / "rootfs", IMAGE)
    return IMAGE


@contextmanager
def running(lamina: Lamina, *words: str, **streams: int) -> Iterator[subprocess.Popen[bytes]]:
    """Start `lamina` with these words; whatever still runs at the end of the block is killed with all its children."""
    streams.setdefault("stdin", subprocess.DEVNULL)
    streams.setdefault("stdout", subprocess.PIPE)
    process = subprocess.Popen(
        [*program(), *words],
        cwd=lamina.cwd,
        env=lamina.environment(),
        stderr=subprocess.STDOUT if streams["stdout"] == subprocess.PIPE else None,
        **streams,  # type: ignore[call-overload]  # stdin and stdout
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


def read_line(process: subprocess.Popen[bytes], expected: str) -> None:
    """Wait for a line of the command's output."""
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line == f"{expected}\n".encode(), line + (b"" if line.endswith(b"\n") else process.stdout.read())


def children_of(pid: int) -> set[int]:
    """Return the descendants of a process."""
    try:
        direct = {int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}
    except (FileNotFoundError, ProcessLookupError):
        return set()
    return direct.union(*(children_of(child) for child in direct))


def is_alive(pid: int) -> bool:
    """Return whether a process still does something."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def expect_gone(pids: set[int]) -> None:
    """Wait until none of these processes runs."""
    until(lambda: not any(is_alive(pid) for pid in pids), "processes are gone")


def send(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Send a signal to the command of lamina itself."""
    os.kill(process.pid, number)
