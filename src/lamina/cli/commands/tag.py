"""`lamina tag`: another name for an image."""

from __future__ import annotations

from lamina.cli.options import Command, Positional

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lamina.cli.context import Context
    from lamina.cli.options import Arguments


def _run(context: Context, arguments: Arguments) -> int:
    source, target = arguments.positionals
    context.store().tag(source, target)
    return 0


COMMAND = Command(
    "tag",
    "give an image another name",
    _run,
    description="TARGET then names the image, and no other one any more. The names that IMAGE has stay.",
    positionals=(Positional("IMAGE", "a name or an id"), Positional("TARGET", "the new name, NAME[:TAG]")),
    examples=(("lamina tag debian:mine debian:stable", "one image, two names"),),
)
