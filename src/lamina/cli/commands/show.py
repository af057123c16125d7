"""`lamina show`: the picture of a stack."""

from __future__ import annotations

from lamina.cli.options import Command, Positional
from lamina.cli.output import NO_TRUNC

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lamina.cli.context import Context
    from lamina.cli.options import Arguments

_NAMES_SHOWN = 5  # of each kind in a box


def _run(context: Context, arguments: Arguments) -> int:
    from lamina.cli.picture import Style, ansi, draw, plain
    from lamina.cli.pictures import picture_of

    picture = picture_of(context.store(), arguments.positionals[0])
    style = Style(
        width=context.width,
        unicode=context.unicode,
        paint=ansi if context.colour else plain,
        shown=None if arguments.flag("no-trunc") else _NAMES_SHOWN,
    )
    for line in draw(picture, style):
        context.print(line)
    return 0


COMMAND = Command(
    "show",
    "draw the layers of an image or a container",
    _run,
    description=(
        "Draws the stack as one knows it from textbooks: the base at the bottom, layers over it, above them the upper"
        " directory that takes a container's changes, and on top the merged directory in which all of it is seen. Each"
        " box says what made the layer, what it added (A), changed (C) and hid (D) of what is below, how large it is"
        " and where it lies. Of many names it shows programs and large directories."
    ),
    options=(NO_TRUNC,),
    positionals=(Positional("IMAGE|CONTAINER", "a name, an id, or the beginning of one"),),
    examples=(("lamina show debian:mine", "an image"), ("lamina show --no-trunc build", "a container, with all names")),
)
