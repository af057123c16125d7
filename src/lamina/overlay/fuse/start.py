"""Starting the process that serves a union over FUSE, and learning whether it does.

The server is a program of its own (`python -m lamina.overlay.fuse`), so that whoever starts it may have threads and a
large heap, and may end before it. It lives in the namespaces of its starter. It ends when its mount is taken away.
"""

from __future__ import annotations

import os
import sys

from lamina.errors import LaminaError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lamina.overlay.stack import Overlay


def start(overlay: Overlay, target: str, *, flags: int = 0, allow_other: bool = False, threads: int = 3) -> int:
    """Mount `overlay` on `target`, served by a new process, and return its pid once the mount answers.

    The process is the caller's child, to be waited for after the mount was taken away. `flags` are mount(2)'s MS_*.
    An ordinary user outside a user namespace mounts through fusermount3. What fails raises here, as a LaminaError.
    """
    import json

    words = {
        "overlay": overlay.plain(),
        "target": os.path.abspath(target),
        "flags": flags,
        "allow_other": allow_other,
        "threads": threads,
    }
    ours, theirs = os.pipe()
    try:
        argv = [sys.executable, "-P", "-m", "lamina.overlay.fuse", json.dumps(words)]
        null = os.devnull
        actions: list[tuple[object, ...]] = [
            (os.POSIX_SPAWN_OPEN, 0, null, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, theirs, 3),
            (os.POSIX_SPAWN_OPEN, 1, null, os.O_WRONLY, 0),
            (os.POSIX_SPAWN_OPEN, 2, null, os.O_WRONLY, 0),
        ]
        pid = os.posix_spawn(sys.executable, argv, _environment(), file_actions=actions, setsid=True)
    finally:
        os.close(theirs)
    try:
        said = b""
        while chunk := os.read(ours, 4096):
            said += chunk
    finally:
        os.close(ours)
    if said == b"serving":
        return pid
    _, status = os.waitpid(pid, 0)
    if not said:
        reason = f"the server ended with status {os.waitstatus_to_exitcode(status)}"
        raise LaminaError("mount the union on", target, reason)
    doing, subject, reason, hint = json.loads(said)
    raise LaminaError(doing, subject, reason, hint)


def _environment() -> dict[str, str]:
    """Return the environment in which the server finds the very package that starts it."""
    package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    paths = [package, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths))}
