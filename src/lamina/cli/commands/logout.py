"""`lamina logout`: forget name and password for a registry."""

from __future__ import annotations

from lamina.cli.options import Command, Positional

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lamina.cli.context import Context
    from lamina.cli.options import Arguments


def _run(context: Context, arguments: Arguments) -> int:
    from lamina.api.transfers import logout

    registry = arguments.positionals[0] if arguments.positionals else ""
    if not logout(registry):
        context.note(f"{registry or 'docker.io'}: nothing was known")
    return 0


COMMAND = Command(
    "logout",
    "forget name and password for a registry",
    _run,
    positionals=(Positional("REGISTRY", "HOST or HOST:PORT; docker.io by default", least=0),),
    examples=(("lamina logout registry.example", "the opposite of login"),),
)
