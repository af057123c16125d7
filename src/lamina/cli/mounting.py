"""Mounting an overlay for one command: in a mount namespace that ends with it, and as the shell script that does so."""

from __future__ import annotations

import errno
import os

from lamina.errors import LaminaError
from lamina.ids.enter import enter
from lamina.ids.subid import find_program
from lamina.linux import mount as kernel
from lamina.linux.namespaces import unshare_mounts
from lamina.linux.signals import set_all_default
from lamina.overlay.kernel import mount
from lamina.runtime import shell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import NoReturn

    from lamina.ids.map import IdMap
    from lamina.overlay.stack import Overlay

NOT_EXECUTABLE, NOT_FOUND = 126, 127


class CannotStart(LaminaError):
    """The command that was to run does not exist (127) or cannot be executed (126)."""

    def __init__(self, program: str, error: OSError) -> None:
        super().__init__("run", program, error)
        self.status = NOT_FOUND if error.errno in (errno.ENOENT, errno.ENOTDIR) else NOT_EXECUTABLE


def run_over(overlay: Overlay, merged: str, command: list[str], ids: IdMap, environ: Mapping[str, str]) -> NoReturn:
    """Become `command`, with `overlay` mounted on `merged` for it alone. An ordinary user is root in its namespace.

    Raises CannotStart, InvalidInput, Unsupported.
    """
    enter(ids)
    unshare_mounts()
    # Else a mount below a shared mount would appear outside, too.
    kernel.mount("", "/", "", kernel.MS_REC | kernel.MS_PRIVATE)
    mount(overlay, merged)
    set_all_default()
    program = command[0]
    try:
        found = program if "/" in program else find_program(program, environ.get("PATH", ""))
        if found is None:
            raise FileNotFoundError(errno.ENOENT, "no such program in PATH")
        os.execve(found, command, environ)
    except OSError as error:
        raise CannotStart(program, error) from error


def script(overlay: Overlay, merged: str, command: list[str], ids: IdMap) -> list[str]:
    """Return the lines of a shell script that does what `lamina mount` would do."""
    lines = ["#!/bin/sh", "set -eu"]
    mounting = _mount_lines(overlay, os.path.abspath(merged))
    if not command:
        return [*lines, "", *mounting]
    if ids.kind == "host":
        comment, words = "# a mount namespace of its own, which ends with the command", ["unshare"]
    else:
        comment = "# an ordinary user may mount in a user namespace of their own, and is root there"
        words = ["unshare", "--user", "--map-root-user", *(["--map-auto"] if ids.kind == "range" else [])]
    words += ["--mount", "--propagation", "private", "--", "sh", "-euc"]
    inner = "\n".join(
        [*(f"  {line}" for line in mounting), "  # the command takes the place of this shell", '  exec "$@"']
    )
    # The script is one quoted word: what it quotes itself is quoted twice.
    quoted = "'\n" + inner.replace("'", "'\\''") + "\n'"
    return [*lines, "", comment, f"exec {shell.command(words)} {quoted} sh {shell.command(command)}"]


def _mount_lines(overlay: Overlay, merged: str) -> list[str]:
    if len(overlay.layers) == 1 and not overlay.upper:
        # overlayfs refuses a single directory that nothing lies over
        return [
            "# one directory and no upper: show it read-only",
            shell.command(["mount", "--bind", overlay.layers[0], merged]),
            shell.command(["mount", "-o", "remount,bind,ro", merged]),
        ]
    what = "what is written goes to upperdir" if overlay.upper else "without an upperdir it is read-only"
    return [
        f"# lowerdir names the topmost directory first; {what}",
        shell.command(["mount", "-t", "overlay", "overlay", "-o", overlay.option_text(), merged]),
    ]
