"""What a process has and a test may not leave behind: mounts, descriptors, children, threads, temporary files."""

from __future__ import annotations

import os
import tempfile
import threading
from pathlib import Path

from tests.helpers.wait import until


def holdings() -> set[str]:
    """Return everything that can leak, one text each; finished children that nobody waited for are reaped."""
    return _mounts() | _descriptors() | _children() | _threads() | _temporary_files()


def expect_none(before: set[str], *, seconds: float = 2.0) -> None:
    """Wait a moment for what is going away by itself, then fail for what a test has left or taken away."""
    try:
        until(lambda: not (holdings() - before), "", seconds=seconds)
    except AssertionError:
        raise AssertionError("left behind: " + "; ".join(sorted(holdings() - before))) from None
    if gone := {what for what in before - holdings() if what.startswith(("mount", "descriptor"))}:
        raise AssertionError("taken away: " + "; ".join(sorted(gone)))


def _mounts() -> set[str]:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return {f"mount {line.split()[4]} ({line.split()[0]})" for line in lines}


def _descriptors() -> set[str]:
    found = set()
    with os.scandir("/proc/self/fd") as entries:
        own = {f"descriptor {entry.name} -> {os.readlink(entry.path)}" for entry in entries}
    for text in own:
        if text.endswith(f"/proc/{os.getpid()}/fd"):  # the one that looks
            continue
        found.add(text)
    return found


def _children() -> set[str]:
    found = set()
    for task in os.listdir("/proc/self/task"):
        try:
            pids = Path(f"/proc/self/task/{task}/children").read_text().split()
        except FileNotFoundError:  # the thread has ended
            continue
        for pid in pids:
            try:
                state, command = _process(pid)
            except (FileNotFoundError, ProcessLookupError):
                continue
            if state == "Z":
                _reap(int(pid))
            else:
                found.add(f"process {pid} ({command})")
    return found


def _process(pid: str) -> tuple[str, str]:
    """Return the state letter and the command line of a process."""
    state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    return state, b" ".join(words).decode(errors="replace").strip()[:120]


def _reap(pid: int) -> None:
    """Take an orphan's status: as the subreaper, the process that runs the tests inherits them."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:  # its parent was faster
        pass


def _threads() -> set[str]:
    return {f"thread {thread.name}" for thread in threading.enumerate()}


def _temporary_files() -> set[str]:
    return {f"file {entry.path}" for entry in os.scandir(tempfile.gettempdir())}
