"""`lamina mount`: directories over each other, for everybody or for one command."""

from __future__ import annotations

from lamina.cli.options import CHOICE, TEXT, Command, Option, Positional, usage_error
from lamina.cli.overlaying import DIRECTORIES, read_overlay, tell_defects

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lamina.cli.context import Context
    from lamina.cli.options import Arguments
    from lamina.overlay.drivers import Driver


def _run(context: Context, arguments: Arguments) -> int:
    import os

    from lamina.errors import Unsupported
    from lamina.ids.map import choose
    from lamina.overlay import drivers

    merged, command = arguments.positionals[0], arguments.tail
    ids = choose(os.geteuid(), os.getegid())
    overlay = read_overlay(COMMAND, arguments, ids)
    overlay.renames = arguments.text("renames")
    driver: Driver = arguments.text("driver") or "auto"  # type: ignore[assignment]  # one of the option's choices
    if trace := arguments.text("trace"):
        if driver == "kernel":
            raise usage_error(COMMAND, "--trace and --driver kernel exclude each other", "the kernel keeps no such log")
        driver = "fuse"
        overlay.options += (("trace", os.path.abspath(trace)),)
    log = arguments.text("log")
    if log and driver == "kernel":
        raise usage_error(COMMAND, "--log and --driver kernel exclude each other", "the kernel's driver has no server")
    log = os.path.abspath(log) if log else ""
    if arguments.flag("explain"):
        from lamina.runtime.explain import explain_mount

        context.print(explain_mount(overlay, merged, command, ids, driver=driver).rstrip("\n"))
        return 0
    context.detail(f"ids: {ids.describe()}")
    _check_merged(merged)
    if command:
        from lamina.runtime.over import run_over

        def on_mounted(chosen: str, note: str) -> None:
            _tell(context, chosen, note)

        def on_trouble(said: str) -> None:
            tell_defects(context, said)

        return run_over(
            overlay,
            merged,
            command,
            ids=ids,
            environ=context.environ,
            on_mounted=on_mounted,
            on_trouble=on_trouble,
            driver=driver,
            log=log,
        )
    if ids.kind != "host" and driver != "fuse":
        hint = (
            "lamina mount … -- COMMAND mounts for COMMAND alone; --driver fuse mounts for you, where fuse3 is installed"
        )
        raise Unsupported("mount for everybody on", merged, "only root can", hint)
    mounted = drivers.mount(overlay, merged, driver=driver, log=log)
    _tell(context, mounted.driver, mounted.note)
    return 0


def _tell(context: Context, driver: str, note: str) -> None:
    """Say which driver it is; where it is not the one that was first choice, without being asked."""
    context.detail(f"driver: {driver}")
    if note:
        context.note(note)


def _check_merged(merged: str) -> None:
    import os

    from lamina.errors import InvalidInput

    if not os.path.isdir(merged):
        reason = "it is not a directory" if os.path.lexists(merged) else "no such directory"
        raise InvalidInput("mount on", merged, reason)


COMMAND = Command(
    "mount",
    "show directories laid over each other as one",
    _run,
    description=(
        "MERGED shows all names of the layers; where two have the same name, the upper one counts, and directories are"
        " merged. What is created, changed and deleted in MERGED lands in the upper directory: changed files are copied"
        " up first, deleted ones leave a whiteout. The layers never change. Without an upper directory MERGED is"
        " read-only.\n\n"
        "With a COMMAND the mount is there for it alone and gone when it ends: this is how an ordinary user mounts, who"
        " is root in that namespace. Without one the mount is for everybody and stays until `lamina umount`; only root"
        " can do that."
    ),
    options=(
        *DIRECTORIES,
        Option(
            "driver",
            "who shows them: the kernel, or our own union over FUSE; auto, the default, takes the kernel where it can",
            kind=CHOICE,
            choices=("auto", "kernel", "fuse"),
        ),
        Option(
            "renames",
            "what becomes of a directory of the layers that is renamed: redirect (a mark says where it was; the default"
            " of our own driver) or copy (all of it is copied up)",
            kind=CHOICE,
            choices=("redirect", "copy"),
        ),
        Option(
            "trace",
            "write which names are looked up, read and written to FILE, through our own driver",
            kind=TEXT,
            value="FILE",
        ),
        Option(
            "log",
            "append what the server of our own driver has to say of its own defects to FILE",
            kind=TEXT,
            value="FILE",
        ),
        Option("explain", "print the shell script that does the same, and do nothing"),
    ),
    positionals=(Positional("MERGED", "the directory to show them in"),),
    tail="COMMAND [ARG…]",
    examples=(
        (
            "lamina mount --layer l1 --layer l2 --upper u --work w merged -- sh",
            "a shell that sees l2 over l1 in merged",
        ),
        ("lamina mount -o lowerdir=l2:l1,upperdir=u,workdir=w merged", "the same in mount(8)'s words, for everybody"),
        ("lamina mount --layer l1 --layer u merged -- ls merged", "look at what became of it, read-only"),
    ),
)
