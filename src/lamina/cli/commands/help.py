"""`lamina help`: what --help shows, by the other way of asking."""

from __future__ import annotations

from lamina.cli.options import Command, Positional, did_you_mean, usage_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lamina.cli.context import Context
    from lamina.cli.options import Arguments


def _run(context: Context, arguments: Arguments) -> int:
    from lamina.cli.commands import NAMES, table_of
    from lamina.cli.help import overview, page

    if not arguments.positionals:
        context.print(overview())
        return 0
    name = arguments.positionals[0]
    if name not in NAMES:
        raise usage_error(COMMAND, f"unknown command {name!r}", did_you_mean(name, list(NAMES)))
    context.print(page(table_of(name)))
    return 0


COMMAND = Command(
    "help",
    "show what lamina, or one of its commands, does",
    _run,
    positionals=(Positional("COMMAND", "the command to explain", least=0),),
)
