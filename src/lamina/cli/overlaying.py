"""The options that name the directories of an overlay: mount(8)'s text, or the form with one option a directory."""

from __future__ import annotations

from lamina.cli.options import LIST, TEXT, Option, usage_error
from lamina.errors import last_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lamina.cli.context import Context
    from lamina.cli.options import Arguments, Command
    from lamina.ids.map import IdMap
    from lamina.overlay.stack import Overlay

DIRECTORIES = (
    Option("layer", "a directory to show, base first", short="l", kind=LIST, value="DIR"),
    Option("upper", "the directory that takes the changes", kind=TEXT, value="DIR"),
    Option("work", "an empty directory beside the upper, on the same file system", kind=TEXT, value="DIR"),
    Option(
        "options",
        "mount(8)'s text: lowerdir=TOP:…:BASE,upperdir=…,workdir=… and further options of overlayfs",
        short="o",
        kind=LIST,
        value="TEXT",
    ),
)


def read_overlay(command: Command, arguments: Arguments, ids: IdMap) -> Overlay:
    """Return the overlay that the options name, with absolute paths, for a mount inside `ids`. Raises UsageError."""
    import os

    from lamina.linux.namespaces import in_first_user_namespace
    from lamina.overlay.stack import Overlay

    asked = _asked(command, arguments)
    return Overlay(
        [os.path.abspath(layer) for layer in asked.layers],
        upper=os.path.abspath(asked.upper) if asked.upper else "",
        work=os.path.abspath(asked.work) if asked.work else "",
        userxattr=asked.userxattr or ids.kind != "host" or not in_first_user_namespace(),
        options=asked.options,
    )


def _asked(command: Command, arguments: Arguments) -> Overlay:
    from lamina.overlay.stack import Overlay, parse_options

    layers, upper, work = arguments.texts("layer"), arguments.text("upper"), arguments.text("work")
    texts = arguments.texts("options")
    if not layers and not any("lowerdir=" in text for text in texts):
        raise usage_error(
            command, "no directory to show is named", "--layer DIR (repeated, base first) or -o lowerdir=…"
        )
    if not layers:
        if upper or work:
            raise usage_error(command, "--upper and --work go with --layer", "in -o they are upperdir= and workdir=")
        return parse_options(",".join(texts))
    others = parse_options(",".join(["lowerdir=/", *texts]))
    if others.upper or others.work or others.layers != ("/",):
        raise usage_error(command, "-o names directories, and so does --layer", "use one of the two forms")
    return Overlay(layers, upper=upper, work=work, userxattr=others.userxattr, options=others.options)


def tell_defects(context: Context, said: str) -> None:
    """Show what the server of a mount had to say of its own defects: the last line, or with --debug all of it."""
    context.note(f"the server of the mount had a defect: {last_line(said)}")
    if context.debug:
        context.err.write(said)
