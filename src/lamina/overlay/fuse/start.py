"""Starting the process that serves a union over FUSE, and learning whether it does.

The server is a program of its own (`python -m lamina.overlay.fuse`), so that whoever starts it may have threads and a
large heap, and may end before it. It lives in the namespaces of its starter. It ends when its mount is taken away.
"""

from __future__ import annotations

import fcntl
import marshal
import os
import sys

from lamina.errors import LaminaError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lamina.overlay.stack import Overlay

#: How a union is mounted where the server's mounter is root, inside a user namespace or outside: all of its ids may
#: enter, and the kernel checks their permissions. READ_SIZE is the largest request in bytes.
OPTIONS = ("default_permissions", "allow_other")
READ_SIZE = 1 << 20

# Descriptors of the server: where it says that it serves, and the device where it is handed one.
_SAID, _DEVICE, _FREE = 3, 4, 5


class Server:
    """A process that serves a union, the caller's child. It ends when its mount is gone."""

    __slots__ = ("_said", "_target", "pid")

    def __init__(self, pid: int, said: int, target: str) -> None:
        self.pid = pid
        self._said = said
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
            raise LaminaError("mount the union on", self._target, f"the server ended with status {status}")
        raise LaminaError(*json.loads(said))

    def wait_end(self) -> int:
        """Wait until the server has ended, which it does once its mount is gone; returns its exit status.

        What was written through the mount is then in the upper.
        """
        _, status = os.waitpid(self.pid, 0)
        return os.waitstatus_to_exitcode(status)


def start(overlay: Overlay, target: str, *, flags: int = 0, allow_other: bool = False, threads: int = 4) -> Server:
    """Mount `overlay` on `target`, served by a new process, and return that once the mount answers.

    `flags` are mount(2)'s MS_*. An ordinary user outside a user namespace mounts through fusermount3. What fails
    raises here, as a LaminaError.
    """
    words = {"target": os.path.abspath(target), "flags": flags, "allow_other": allow_other, "threads": threads}
    server = _spawn(overlay, words, device=-1)
    server.wait_ready()
    return server


def serve(overlay: Overlay, device: int, *, threads: int = 4) -> Server:
    """Start the process that serves `overlay` on `device`, an open /dev/fuse that is mounted already.

    For a mount in another mount namespace, where no server may live: it would keep the namespace, and with it the
    mount, for ever. All others close their copies of the descriptor, so that the mount answers ENOTCONN should the
    server die.
    """
    return _spawn(overlay, {"target": "", "threads": threads}, device=device)


def _spawn(overlay: Overlay, words: dict[str, object], *, device: int) -> Server:
    ours, theirs = os.pipe()
    try:
        words = {**words, "overlay": overlay.plain(), "device": _DEVICE if device >= 0 else -1}
        # The target is for people who look at processes. The words are read by the same interpreter, which knows this
        # form without loading anything.
        argv = [sys.executable, "-P", "-m", "lamina.overlay.fuse", str(words["target"]), marshal.dumps(words).hex()]
        null = os.devnull
        # Both descriptors first away from where they go, so that none is overwritten before it is copied.
        high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _FREE) for fd in (theirs, device) if fd >= 0]
        actions: list[tuple[object, ...]] = [
            (os.POSIX_SPAWN_OPEN, 0, null, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, null, os.O_WRONLY, 0),
            (os.POSIX_SPAWN_OPEN, 2, null, os.O_WRONLY, 0),
            *((os.POSIX_SPAWN_DUP2, fd, number) for fd, number in zip(high, (_SAID, _DEVICE), strict=False)),
        ]
        try:
            pid = os.posix_spawn(sys.executable, argv, _environment(), file_actions=actions, setsid=True)
        finally:
            for fd in high:
                os.close(fd)
    except BaseException:
        os.close(ours)
        raise
    finally:
        os.close(theirs)
    return Server(pid, ours, str(words["target"]))


def _environment() -> dict[str, str]:
    """Return the environment in which the server finds the very package that starts it."""
    package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    paths = [package, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths))}
