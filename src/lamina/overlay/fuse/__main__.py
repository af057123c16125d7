"""The process that serves one union: opens the layers, mounts, says so on descriptor 3, and serves until unmounted.

Its arguments are made by `start`. On a failure the four fields of a LaminaError go to descriptor 3 as JSON instead.
"""

from __future__ import annotations

import gc
import marshal
import os
import resource
import signal
import sys
from typing import TYPE_CHECKING

from lamina.errors import LaminaError, Unsupported
from lamina.linux import fuse as device
from lamina.linux.namespaces import in_first_user_namespace
from lamina.linux.process import CAP_SYS_ADMIN, has_capability
from lamina.overlay.fuse.serve import FileSystem
from lamina.overlay.fuse.session import MAX_DATA, Session
from lamina.overlay.in_use import PATIENCE, lock
from lamina.overlay.options import PASSTHROUGH
from lamina.overlay.stack import Overlay
from lamina.overlay.union.owners import read_options
from lamina.overlay.union.tracing import tree_for
from lamina.overlay.union.upper import Upper

if TYPE_CHECKING:
    from lamina.overlay.fuse.control import Control

_READY = 3
_RESERVE = 256  # descriptors that are not for open files: layers, removed files that are still open


def main() -> int:
    """Serve; return the exit status."""
    words = marshal.loads(bytes.fromhex(sys.argv[2]))
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)  # the terminal's signals are meant for what works in the mount
    os.umask(0)
    os.chdir("/")
    gc.set_threshold(50_000)  # names and nodes are many, live long, and have no cycles when they go
    try:
        _serve(Overlay(**words["overlay"]), words)
    except LaminaError as error:
        _fail([error.doing, error.subject, error.reason, error.hint])
        return 1
    except OSError as error:
        _fail(["mount the union on", words["target"], str(error), ""])
        return 1
    return 0


def _serve(overlay: Overlay, words: dict[str, object]) -> None:
    overlay.check()
    volatile = ("volatile", "") in overlay.options
    passthrough = (PASSTHROUGH, "") in overlay.options
    if passthrough:
        _check_passthrough()
    owners = read_options(overlay.options)
    upper = None
    if overlay.upper:
        upper = Upper(
            overlay.upper,
            overlay.work,
            len(overlay.layers),
            userxattr=True if overlay.userxattr else None,
            sync=not volatile,
            owners=owners,
            held=lock(overlay.upper, patience=PATIENCE),
        )
    trace = dict(overlay.options).get("trace", "")
    tree = tree_for(list(overlay.layers), upper, owners=owners, trace=trace, walks=False)
    file_system = FileSystem(
        tree,
        upper,
        open_files=_open_files(),
        sync=not volatile,
        copy_renamed=overlay.renames == "copy",
        passthrough=passthrough,
    )
    device_fd = int(str(words["device"]))
    fd = device_fd if device_fd >= 0 else _mount(str(words["target"]), words)
    session = Session(
        fd,
        file_system.handlers(),
        wanted=file_system.wanted(),
        threads=int(str(words["threads"])),
        on_ready=lambda: _ready(str(words["target"])),
        on_error=_Defects(),
    )
    control = _take_orders(str(words["target"]), file_system, keep_errors=not words["logged"])
    file_system.served_by(session)
    session.run()
    if control is not None:
        control.close()
    file_system.close()
    tree.close()
    if upper is not None:
        upper.close()


def _check_passthrough() -> None:
    if not (in_first_user_namespace() and has_capability(os.getpid(), CAP_SYS_ADMIN)):
        raise Unsupported("mount with", f"-o {PASSTHROUGH}", "the kernel lets the machine's root alone lend it files")
    if not device.can_lend():
        raise Unsupported("mount with", f"-o {PASSTHROUGH}", "this kernel has no passthrough", "Linux 6.9 has it")


class _Defects:
    """Writes the first failures of handlers to the standard error: one that comes again and again fills no disk."""

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left = 20

    def __call__(self, text: str) -> None:
        self._left -= 1
        if self._left >= 0:
            sys.stderr.write(text if self._left else f"after this failure no more are written:\n{text}")


def _take_orders(target: str, file_system: FileSystem, *, keep_errors: bool) -> Control | None:
    """Let the user change the layers of a mount that has a place; None where there is nowhere for a socket."""
    if not target:
        return None
    from lamina.overlay.fuse.control import Control  # loads what a container's server needs not

    try:
        return Control(target, os.environ, file_system.relayer, keep_errors=keep_errors)
    except (OSError, LaminaError):
        return None


def _mount(target: str, words: dict[str, object]) -> int:
    options = ("default_permissions", "allow_other") if words["allow_other"] else ("default_permissions",)
    try:
        fd = device.open_device()
        device.mount(
            fd,
            target,
            source=str(words["source"]),
            subtype="lamina",
            flags=int(str(words["flags"])),
            options=options,
            read_size=MAX_DATA,
        )
    except (PermissionError, LaminaError):
        if os.geteuid() == 0:
            raise
        return device.fusermount(target, source=str(words["source"]), subtype="lamina", options=options)
    return fd


def _ready(target: str) -> None:
    """Let reads be as large as requests can be, and tell that the mount answers."""
    if target:
        try:
            device.set_read_ahead(target, MAX_DATA)
        except OSError:  # not root, or no sysfs: reads stay at the kernel's 128 KiB
            pass
    _say("serving")


def _open_files() -> int:
    """Raise the limit of descriptors as far as it goes; return how many open files to keep."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return max(64, min(2048, (hard - _RESERVE) // 2))


def _fail(fields: list[str]) -> None:
    import json

    _say(json.dumps(fields))


def _say(text: str) -> None:
    os.write(_READY, text.encode())
    os.close(_READY)


if __name__ == "__main__":
    sys.exit(main())
