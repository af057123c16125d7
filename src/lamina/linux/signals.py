"""Signals by number, without the enumerations of the `signal` module, whose import costs 6 ms at each start.

`_signal` is what `signal` itself is made of; it has the same functions and constants as plain numbers.
"""

from __future__ import annotations

import _signal as _numbers  # type: ignore[import-not-found]  # typeshed knows `signal` alone

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

SIGHUP, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2, SIGTERM = 1, 2, 3, 10, 12, 15
SIGKILL, SIGPIPE, SIGCHLD, SIGCONT, SIGWINCH = 9, 13, 17, 18, 28

#: What is passed on to a command that runs in the foreground.
FORWARDED = (SIGHUP, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2, SIGTERM, SIGCONT, SIGWINCH)


def handle(signal: int, function: Callable[[int, object], None]) -> object:
    """Call `function(signal, frame)` for each `signal`; returns the previous disposition, for `restore`."""
    return _numbers.signal(signal, function)


def restore(signal: int, disposition: object) -> None:
    """Put back what `handle` returned."""
    _numbers.signal(signal, disposition)


def set_default(*signals: int) -> None:
    """Let these signals do what they do by default: signal(7)."""
    for signal in signals:
        _numbers.signal(signal, _numbers.SIG_DFL)


def set_all_default() -> None:
    """Undo what this interpreter and lamina set, as a program about to be executed expects."""
    # Python itself ignores SIGPIPE (13) and SIGXFSZ (25); a program that inherits that loops on closed pipes.
    set_default(*FORWARDED, SIGPIPE, 25, SIGCHLD)
    _numbers.pthread_sigmask(_numbers.SIG_SETMASK, ())


def wait_for(*signals: int) -> int:
    """Wait until one of these signals, which must be blocked (`block`), is pending; take it and return its number."""
    number: int = _numbers.sigwait(signals)
    return number


def block(*signals: int) -> None:
    """Keep these signals pending instead of delivering them."""
    _numbers.pthread_sigmask(_numbers.SIG_BLOCK, signals)
