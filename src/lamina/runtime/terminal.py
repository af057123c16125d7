"""A terminal of the container's own (`-t`): the pty inside, and passing it through to the caller's terminal.

The pty comes from the devpts of the container, so that its name means the same inside; its master goes to the caller
over a socket (pty(7), ioctl_tty(2)). The caller's terminal is raw while the command runs, and is always restored.
"""

from __future__ import annotations

import array
import fcntl
import os
import select
import termios

from lamina.linux import signals

# The end of the command closes the terminal (EIO), but what it wrote last is on its way: a work queue carries it.
_LAST_OUTPUT_MS = 200

_TIOCSPTLCK = 0x40045431
_TIOCGPTPEER = 0x5441


def open_pty(ptmx: str) -> tuple[int, int]:
    """Return (master, slave) of a new pty of the devpts that `ptmx` belongs to. The caller closes both."""
    master = os.open(ptmx, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    fcntl.ioctl(master, _TIOCSPTLCK, array.array("i", [0]))
    # By ioctl and not by name: /dev/pts of the caller is another file system.
    slave = fcntl.ioctl(master, _TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    return master, slave


def become_controlling(slave: int) -> None:
    """Make the terminal standard input, output and error and the controlling one of this session leader."""
    for fd in (0, 1, 2):
        os.dup2(slave, fd)
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


class Raw:
    """The caller's terminal in raw mode, for the length of a block; nothing where `fd` is no terminal."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._before: list[object] | None = termios.tcgetattr(fd) if fd >= 0 and os.isatty(fd) else None

    def __enter__(self) -> Raw:
        if self._before is not None:
            mode = termios.tcgetattr(self._fd)
            mode[0] &= ~(
                termios.BRKINT | termios.ICRNL | termios.INLCR | termios.IGNCR | termios.INPCK | termios.ISTRIP
                | termios.IXON | termios.PARMRK
            )  # fmt: skip
            mode[1] &= ~termios.OPOST
            mode[2] = mode[2] & ~(termios.CSIZE | termios.PARENB) | termios.CS8
            mode[3] &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)
            mode[6][termios.VMIN], mode[6][termios.VTIME] = 1, 0
            termios.tcsetattr(self._fd, termios.TCSADRAIN, mode)
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            termios.tcsetattr(self._fd, termios.TCSADRAIN, self._before)  # type: ignore[arg-type]  # as tcgetattr gave it


def copy_size(source: int, target: int) -> None:
    """Give a terminal the window size of another; nothing where one of them is no terminal."""
    try:
        size = fcntl.ioctl(source, termios.TIOCGWINSZ, bytes(8))
        fcntl.ioctl(target, termios.TIOCSWINSZ, size)
    except OSError:
        pass


def pass_through(stdin: int, stdout: int, master: int, ended: int) -> None:
    """Copy `stdin` (-1: nothing) to the master and the master to `stdout` until the process behind `ended` has ended.

    `ended` is a descriptor that becomes readable then (pidfd_open(2)). What the terminal still holds is written out.
    """
    copy_size(stdout, master)
    os.set_blocking(master, False)
    previous = signals.handle(signals.SIGWINCH, lambda _signal, _frame: copy_size(stdout, master))
    try:
        _pump(stdin, stdout, master, ended)
    finally:
        signals.restore(signals.SIGWINCH, previous)


def _pump(stdin: int, stdout: int, master: int, ended: int) -> None:
    poll = select.poll()
    poll.register(ended, select.POLLIN)
    typed = b""  # what the terminal has no room for yet: its command may first want to be rid of what it writes
    in_line = over = False
    while True:
        poll.register(master, select.POLLIN | (select.POLLOUT if typed else 0))
        if stdin >= 0 and not typed:
            poll.register(stdin, select.POLLIN)
        ready = dict(poll.poll(_LAST_OUTPUT_MS if over else None))
        if stdin in ready:
            typed = _read(stdin)
            poll.unregister(stdin)
            if typed:
                in_line = not typed.endswith((b"\n", b"\r"))
            else:
                stdin = -1
                # End of file, for a line discipline in canonical mode; within a line the first one only ends the line.
                typed = b"\x04\x04" if in_line else b"\x04"
        if typed and ready.get(master, 0) & select.POLLOUT:
            typed = typed[_write_some(master, typed) :]
        readable = ready.get(master, 0) & ~select.POLLOUT
        if (readable and not _copy(master, stdout)) or (over and not readable):
            return
        if ended in ready:
            over = True
            poll.unregister(ended)
            if stdin >= 0 and not typed:
                poll.unregister(stdin)
            stdin, typed = -1, b""


def _read(fd: int) -> bytes:
    """Read once; nothing at the end, which for a terminal may be a hangup (EIO)."""
    try:
        return os.read(fd, 65536)
    except OSError:
        return b""


def _write_some(fd: int, data: bytes) -> int:
    try:
        return os.write(fd, data)
    except BlockingIOError:
        return 0


def _copy(master: int, stdout: int) -> bool:
    """Copy once; False when the other side of the terminal is closed (EIO)."""
    try:
        data = os.read(master, 65536)
    except BlockingIOError:
        return True
    except OSError:
        return False
    while data:
        data = data[os.write(stdout, data) :]
    return True
