"""`lamina remount`: other layers under a mount that is in use."""

from __future__ import annotations

from lamina.cli.options import LIST, Command, Option, Positional, usage_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lamina.cli.context import Context
    from lamina.cli.options import Arguments


def _run(context: Context, arguments: Arguments) -> int:
    from lamina.overlay.fuse.control import set_layers

    layers = arguments.texts("layer")
    if not layers:
        raise usage_error(COMMAND, "no layer is named", "--layer DIR, repeated, base first: all that there are to be")
    set_layers(arguments.positionals[0], layers, context.environ)
    return 0


COMMAND = Command(
    "remount",
    "put other layers under a mount that is in use",
    _run,
    description=(
        "MERGED, a mount of our own driver (`lamina mount --driver fuse`) for everybody, shows the given layers from"
        " now on, under the same upper. Layers can so be added, taken away and exchanged. A layer that stays is named"
        " again; what it shows is not disturbed. A file that is open stays what it was, to be read; a directory that"
        " is no longer shown is like a removed one."
    ),
    options=(Option("layer", "a directory to show, base first", short="l", kind=LIST, value="DIR"),),
    positionals=(Positional("MERGED", "the directory on which it is mounted"),),
    examples=(("lamina remount --layer base --layer newer merged", "what newer has shows at once"),),
)
