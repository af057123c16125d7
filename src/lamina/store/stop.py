"""Ending what runs in a container. A job for the worker: only there have its processes ids that may be signalled."""

from __future__ import annotations

import os
import signal
import time

from lamina.errors import LaminaError
from lamina.linux.locks import is_locked

_PATIENCE = 10.0  # seconds for the kernel to end what was killed


def kill_container(*, directory: str) -> None:
    """Kill the first process of the container in `directory`, and with it all others; return when nothing runs."""
    deadline = time.monotonic() + _PATIENCE
    fd = os.open(f"{directory}/lock", os.O_RDWR | os.O_CLOEXEC)
    try:
        while is_locked(fd):
            _kill(f"{directory}/pid")
            if time.monotonic() > deadline:
                raise LaminaError("stop", os.path.basename(directory)[:12], f"it still runs after {_PATIENCE:.0f} s")
            time.sleep(0.005)
    finally:
        os.close(fd)


def _kill(pid_file: str) -> None:
    # Written once the command runs, and removed before the lock is let go: while both are there, the pid is its own.
    try:
        with open(pid_file, encoding="utf-8") as file:
            pid = int(file.read())
        os.kill(pid, signal.SIGKILL)
    except (FileNotFoundError, ProcessLookupError, ValueError):
        pass
