"""`lamina diff`: what a container changed."""

from __future__ import annotations

from lamina.cli.options import Command, Positional
from lamina.cli.output import FORMAT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lamina.cli.context import Context
    from lamina.cli.options import Arguments


def _run(context: Context, arguments: Arguments) -> int:
    from lamina.cli.output import print_json
    from lamina.errors import one_line

    changes = context.store().container(arguments.positionals[0]).diff()
    if arguments.text("format") == "json":
        print_json(context, [{"Kind": change.kind, "Path": change.path} for change in changes])
    else:
        for change in changes:
            context.print(f"{change.kind} {one_line(change.path)}")
    return 0


COMMAND = Command(
    "diff",
    "list what a container added, changed and deleted",
    _run,
    description=(
        "A line for each name: A added, C changed, D deleted. A directory in which something changed is changed itself."
        " Control characters in a name are shown escaped; --format json has the name as it is."
    ),
    options=(FORMAT,),
    positionals=(Positional("CONTAINER", "a name, an id, or the beginning of one"),),
    examples=(("lamina diff build | grep ^D", "what was deleted"),),
)
