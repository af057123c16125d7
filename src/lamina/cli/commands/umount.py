"""`lamina umount`: take an overlay away again."""

from __future__ import annotations

from lamina.cli.options import Command, Positional
from lamina.cli.overlaying import tell_defects

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lamina.cli.context import Context
    from lamina.cli.options import Arguments

_ENOUGH = 5.0  # seconds for a server to end, which takes milliseconds


def _run(context: Context, arguments: Arguments) -> int:
    import errno

    from lamina.errors import LaminaError
    from lamina.overlay.drivers import unmount
    from lamina.overlay.fuse.control import Ending, clear_away, socket_of

    merged = arguments.positionals[0]
    socket = socket_of(merged, context.environ)
    ending = Ending(socket)
    try:
        unmount(merged)
        ending.wait(_ENOUGH)
    except OSError as error:
        reason, hint = {
            errno.EINVAL: ("nothing is mounted on it", ""),
            errno.ENOENT: ("no such directory", ""),
            errno.EBUSY: ("it is in use", f"fuser -vm {merged} shows by whom"),
            errno.EPERM: ("only root can", "the mount of `lamina mount … -- COMMAND` is gone when COMMAND ends"),
        }.get(error.errno or 0, (error, ""))
        raise LaminaError("unmount", merged, reason, hint) from error
    finally:
        ending.close()
    if socket and (said := clear_away(socket)):
        tell_defects(context, said)
    return 0


COMMAND = Command(
    "umount",
    "take away what `lamina mount` has mounted",
    _run,
    description="The directories below keep what was written; `lamina mount` can show them again.",
    positionals=(Positional("MERGED", "the directory on which it is mounted"),),
    examples=(("lamina umount merged", "whoever works in it has to leave it first"),),
)
