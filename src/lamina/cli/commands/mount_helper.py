"""`lamina mount-helper`: let mount(8) and fstab(5) know the type fuse.lamina.

mount(8) looks for helpers in /sbin alone, where an installer of Python packages writes nothing.
"""

from __future__ import annotations

from lamina.cli.options import TEXT, Command, Option, Positional, usage_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lamina.cli.context import Context
    from lamina.cli.options import Arguments

_NAME = "mount.fuse.lamina"
_MARK = "# installed by `lamina mount-helper install`"


def _run(context: Context, arguments: Arguments) -> int:
    import os

    action = arguments.positionals[0]
    path = os.path.join(arguments.text("directory") or "/sbin", _NAME)
    match action:
        case "install":
            _install(path)
            context.note(f"{path} is installed: mount -t fuse.lamina -o lowerdir=…,upperdir=…,workdir=… lamina MERGED")
        case "remove":
            _remove(path)
        case _:
            raise usage_error(COMMAND, f"unknown action {action!r}", "install or remove")
    return 0


def _install(path: str) -> None:
    import os
    import sys

    from lamina.errors import LaminaError
    from lamina.runtime.shell import quote

    _check_ours(path, "install")
    package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    text = (
        f"#!/bin/sh\n{_MARK}\nPYTHONPATH={quote(package)}${{PYTHONPATH:+:$PYTHONPATH}} "
        f'exec {quote(sys.executable)} -P -m lamina.cli.overlayfs "$@"\n'
    )
    try:
        with open(f"{path}.new", "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(text)
        os.chmod(f"{path}.new", 0o755)
        os.rename(f"{path}.new", path)
    except OSError as error:
        raise LaminaError("install", path, error, "root can") from error


def _remove(path: str) -> None:
    import os

    from lamina.errors import LaminaError

    _check_ours(path, "remove")
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise LaminaError("remove", path, error, "root can") from error


def _check_ours(path: str, doing: str) -> None:
    """Raise Conflict where the file is somebody else's."""
    from lamina.errors import Conflict

    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            ours = _MARK in file.read(4096)
    except FileNotFoundError:
        return
    if not ours:
        raise Conflict(doing, path, "the file was not made by lamina")


COMMAND = Command(
    "mount-helper",
    "let mount(8) mount the type fuse.lamina",
    _run,
    description=(
        "mount(8) looks for the helper of a type in /sbin alone. `install` writes a small script there that calls"
        " this very installation of lamina; `remove` takes it away."
    ),
    options=(Option("directory", "write into DIR instead of /sbin", kind=TEXT, value="DIR"),),
    positionals=(Positional("ACTION", "install or remove"),),
    examples=(
        ("lamina mount-helper install", "as root, once"),
        ("mount -t fuse.lamina -o lowerdir=top:base,upperdir=up,workdir=work lamina merged", "and then as any mount"),
    ),
)
