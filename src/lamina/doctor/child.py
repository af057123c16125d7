"""A probe in a process of its own: whatever it enters, mounts or breaks ends with it, and it has a time limit."""

from __future__ import annotations

import json
import os
import select
import signal
import time

from lamina.doctor.values import Check, Host, Missing, Probe, Remedy, State
from lamina.errors import LaminaError, one_line
from lamina.linux import process

#: Seconds that a probe may take: a loaded machine takes a tenth of one.
LIMIT = 10.0
_REAP = 2.0  # seconds for the kernel to take a killed process away


def carry_out(probe: Probe, host: Host, *, limit: float = LIMIT) -> Check:
    """Carry out `probe` in a child of this process, which must have one thread, and return what it found."""
    read, write = os.pipe()
    caller = os.getpid()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(read)
            _be_child(caller)
            os.write(write, json.dumps(_answer(probe, host)).encode("ascii"))
        finally:
            os._exit(0)
    os.close(write)
    try:
        said = _read(read, limit)
    finally:
        os.close(read)
        _end(pid)
    if said is None:
        return _check(probe, "unknown", f"no answer within {limit:g} seconds", Remedy())
    if not said:
        return _check(probe, "unknown", "the process that tried it was killed", Remedy())
    state, text, commands = json.loads(said)
    return _check(probe, state, text, Remedy(*commands))


def _check(probe: Probe, state: State, text: str, remedy: Remedy) -> Check:
    return Check(probe.name, probe.purpose, probe.needed, state, text, remedy)


def _be_child(caller: int) -> None:
    """Let no descendant outlive the caller, nor say anything."""
    os.setsid()
    process.set_parent_death_signal(signal.SIGKILL)
    if os.getppid() != caller:
        os._exit(0)
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)


def _answer(probe: Probe, host: Host) -> tuple[State, str, tuple[str, str, str]]:
    try:
        return "works", one_line(probe.do(host)), ("", "", "")
    except Missing as missing:
        reason, remedy = missing.reason, missing.remedy
    except LaminaError as error:
        reason, remedy = error.reason, probe.remedy
    except OSError as error:
        reason, remedy = os.strerror(error.errno) if error.errno else str(error), probe.remedy
    return "fails", one_line(reason), (remedy.debian, remedy.fedora, remedy.arch)


def _read(fd: int, limit: float) -> bytes | None:
    """Return everything that is written to the pipe, or None after `limit` seconds."""
    deadline = time.monotonic() + limit
    parts: list[bytes] = []
    while True:
        ready, _, _ = select.select([fd], [], [], max(deadline - time.monotonic(), 0))
        if not ready:
            return None
        part = os.read(fd, 65536)
        if not part:
            return b"".join(parts)
        parts.append(part)


def _end(pid: int) -> None:
    """Kill the child's session and take its status; one that the kernel does not let go is left to it."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):  # it has ended; it never came to have a session
        pass
    ended = os.pidfd_open(pid)
    try:
        select.select([ended], [], [], _REAP)
    finally:
        os.close(ended)
    os.waitpid(pid, os.WNOHANG)
