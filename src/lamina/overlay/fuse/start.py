"""Starting the process that serves a union over FUSE, and learning whether it does.

The server is a program of its own (`python -m lamina.overlay.fuse`), so that whoever starts it may have threads and a
large heap, and may end before it. It lives in the namespaces of its starter. It ends when its mount is taken away.
"""

from __future__ import annotations

import fcntl
import marshal
import os
import sys

from lamina.errors import InvalidInput, LaminaError, UsageError, last_line
from lamina.overlay.options import PASSTHROUGH, check_ours

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lamina.overlay.stack import Overlay

#: How a union is mounted where the server's mounter is root, inside a user namespace or outside: all of its ids may
#: enter, and the kernel checks their permissions. READ_SIZE is the largest request in bytes.
OPTIONS = ("default_permissions", "allow_other")
READ_SIZE = 1 << 20

#: How many threads serve a mount: more than processors, since one that has just answered is not asleep yet.
THREADS = 6

# Descriptors of the server: where it says that it serves, and the device where it is handed one.
_SAID, _DEVICE, _FREE = 3, 4, 5


#: In place of a log file: the standard error of whoever starts the server.
TO_STDERR = "-"


class Server:
    """A process that serves a union, the caller's child. It ends when its mount is gone.

    `trouble` is what it wrote about its own defects, known once it has ended. A mount with a place keeps that where
    `lamina.overlay.fuse.control` says instead, since whoever started it need not be there any more.
    """

    __slots__ = ("_errors", "_said", "_status", "_target", "pid", "trouble")

    def __init__(self, pid: int, said: int, errors: int, target: str) -> None:
        self.pid = pid
        self.trouble = ""
        self._status: int | None = None
        self._said = said
        self._errors = errors
        self._target = target

    def wait_ready(self) -> None:
        """Wait until the mount answers. Raises the LaminaError that the server met instead, when it has ended."""
        with open(self._said, "rb") as pipe:
            said = pipe.read()
        if said == b"serving":
            return
        import json

        status = self.wait_end()
        if not said:
            last = last_line(self.trouble)
            reason = f"the server ended with status {status}{': ' if last else ''}{last}"
            raise LaminaError("mount the union on", self._target, reason)
        raise LaminaError(*json.loads(said))

    def wait_end(self) -> int:
        """Wait until the server has ended, which it does once its mount is gone; returns its exit status.

        What was written through the mount is then in the upper. May be repeated.
        """
        if self._status is not None:
            return self._status
        _, status = os.waitpid(self.pid, 0)
        if self._errors >= 0:
            with open(self._errors, "rb") as file:
                file.seek(0)
                self.trouble = file.read().decode(errors="replace")
            self._errors = -1
        self._status = os.waitstatus_to_exitcode(status)
        return self._status


def start(
    overlay: Overlay,
    target: str,
    *,
    flags: int = 0,
    allow_other: bool = False,
    threads: int = THREADS,
    log: str = "",
    source: str = "lamina",
) -> Server:
    """Mount `overlay` on `target`, served by a new process, and return that once the mount answers.

    `flags` are mount(2)'s MS_*, `source` is what lists of mounts show in the first column. An ordinary user outside a
    user namespace mounts through fusermount3. The server appends what it has to say of its own defects to the file
    `log`, or says it to TO_STDERR; without, the first ones are kept until the mount is taken away. What fails raises
    here, as a LaminaError.
    """
    check_ours(overlay.options)
    words = {
        "target": os.path.abspath(target),
        "flags": flags,
        "allow_other": allow_other,
        "threads": threads,
        "source": source,
    }
    server = _spawn(overlay, words, device=-1, log=log)
    server.wait_ready()
    return server


def serve(overlay: Overlay, device: int, *, threads: int = THREADS, log: str = "") -> Server:
    """Start the process that serves `overlay` on `device`, an open /dev/fuse that is mounted already.

    For a mount in another mount namespace, where no server may live: it would keep the namespace, and with it the
    mount, for ever. All others close their copies of the descriptor, so that the mount answers ENOTCONN should the
    server die.
    """
    return _spawn(overlay, {"target": "", "threads": threads}, device=device, log=log)


def _spawn(overlay: Overlay, words: dict[str, object], *, device: int, log: str) -> Server:
    if overlay.upper and (PASSTHROUGH, "") in overlay.options:
        reason = "a union with an upper cannot have it: the kernel refuses to write to what it reads itself"
        raise UsageError("mount with", f"-o {PASSTHROUGH}", reason)
    errors = _open_log(log)
    ours, theirs = os.pipe()
    try:
        words = {
            **words, "overlay": overlay.plain(), "device": _DEVICE if device >= 0 else -1, "logged": bool(log),
        }  # fmt: skip
        # The target is for people who look at processes. The words are read by the same interpreter, which knows this
        # form without loading anything.
        argv = [sys.executable, "-P", "-m", "lamina.overlay.fuse", str(words["target"]), marshal.dumps(words).hex()]
        null = os.devnull
        # All descriptors first away from where they go, so that none is overwritten before it is copied.
        places = ((errors, 2), (theirs, _SAID), (device, _DEVICE))
        high = [(fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _FREE), number) for fd, number in places if fd >= 0]
        actions: list[tuple[object, ...]] = [
            (os.POSIX_SPAWN_OPEN, 0, null, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, null, os.O_WRONLY, 0),
            *((os.POSIX_SPAWN_DUP2, fd, number) for fd, number in high),
        ]
        try:
            pid = os.posix_spawn(sys.executable, argv, _environment(), file_actions=actions, setsid=True)
        finally:
            for fd, _ in high:
                os.close(fd)
    except BaseException:
        os.close(ours)
        if errors >= 0:
            os.close(errors)
        raise
    finally:
        os.close(theirs)
    if log and errors >= 0:
        os.close(errors)
    return Server(pid, ours, -1 if log else errors, str(words["target"]))


def _open_log(log: str) -> int:
    """Return where the server's standard error goes: a file, memory that is read later, or -1 to leave it as it is."""
    if log == TO_STDERR:
        return -1
    if not log:
        return os.memfd_create("lamina-fuse-errors")
    try:
        return os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise InvalidInput("write the log", log, error) from error


def _environment() -> dict[str, str]:
    """Return the environment in which the server finds the very package that starts it."""
    package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    paths = [package, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths))}
