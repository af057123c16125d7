"""`lamina tags`: the tags of a repository at its registry."""

from __future__ import annotations

from lamina.cli.options import Command, Positional

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lamina.cli.context import Context
    from lamina.cli.options import Arguments


def _run(context: Context, arguments: Arguments) -> int:
    from lamina.api.transfers import tags

    for tag in tags(arguments.positionals[0]):
        context.print(tag)
    return 0


COMMAND = Command(
    "tags",
    "list the tags of a repository at its registry",
    _run,
    positionals=(Positional("REPOSITORY", "REGISTRY/REPOSITORY; without a registry docker.io is meant"),),
    examples=(("lamina tags registry.example/team/app", "one tag a line"),),
)
