"""The small init of `--init`: pid 1 that passes signals on, reaps orphans, and ends with the command's status."""

from __future__ import annotations

import os

from lamina.linux import signals
from lamina.linux.files import close_range
from lamina.linux.process import set_dumpable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn


def exit_status(wait_status: int) -> int:
    """Return a status of waitpid(2) as a shell's: 128 and the signal's number for a death by signal."""
    code = os.waitstatus_to_exitcode(wait_status)
    return code if code >= 0 else 128 - code


def run_below_init(execute: Callable[[], NoReturn]) -> NoReturn:
    """Fork: the child calls `execute`, the caller stays as init and ends the process with the child's status.

    The signals are blocked before the fork, so none is lost, and taken one at a time; `execute` must unblock them.
    """
    everything = (*signals.FORWARDED, signals.SIGCHLD)
    signals.set_default(signals.SIGCHLD)
    signals.block(*everything)
    child = os.fork()
    if child == 0:
        execute()
    close_range(3, (1 << 31) - 1, 0)
    set_dumpable(False)  # nobody in the container may look into the interpreter or open its /proc/1/exe
    for fd in (0, 1, 2):  # a reader of the command's output must see its end even if orphans outlive it
        os.dup2(os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC), fd)
    while True:
        signal = signals.wait_for(*everything)
        if signal != signals.SIGCHLD:
            _pass_on(child, signal)
            continue
        status = _reap(child)
        if status is not None:
            os._exit(status)


def _pass_on(child: int, signal: int) -> None:
    try:
        os.kill(child, signal)
    except ProcessLookupError:
        pass


def _reap(child: int) -> int | None:
    """Take every ended process; return the exit status of `child` if it was among them."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return None
        if pid == 0:
            return None
        if pid == child:
            return exit_status(status)
