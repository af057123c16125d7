"""`lamina export`: a container's file tree as one tar."""

from __future__ import annotations

from lamina.cli.options import TEXT, Command, Option, Positional
from lamina.cli.transferring import binary_output

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lamina.cli.context import Context
    from lamina.cli.options import Arguments


def _run(context: Context, arguments: Arguments) -> int:
    target = arguments.text("output", "-")
    with context.progress():
        container = context.store().container(arguments.positionals[0])
        container.export(binary_output(context) if target == "-" else target)
    return 0


COMMAND = Command(
    "export",
    "write a container's file tree as one tar",
    _run,
    description=(
        "The tar has what the command in the container sees, without layers, names or settings. `lamina import` makes"
        " an image of it again."
    ),
    options=(Option("output", "write to FILE instead of standard output", short="o", kind=TEXT, value="FILE"),),
    positionals=(Positional("CONTAINER", "a name, an id, or the beginning of one"),),
    examples=(("lamina export try | tar -tv", "what is in it"),),
)
