"""`lamina login`: keep name and password for a registry."""

from __future__ import annotations

import sys

from lamina.cli.options import TEXT, Command, Option, Positional, usage_error
from lamina.errors import LaminaError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lamina.cli.context import Context
    from lamina.cli.options import Arguments


def _run(context: Context, arguments: Arguments) -> int:
    from lamina.api.transfers import login

    registry = arguments.positionals[0] if arguments.positionals else ""
    username = arguments.text("username") or _ask(context, "Username: ", hidden=False)
    path = login(registry, username, _password(context, arguments))
    context.note(f"logged in; name and password are kept by {path}")
    return 0


def _password(context: Context, arguments: Arguments) -> str:
    if arguments.flag("password-stdin"):
        if arguments.given("password"):
            raise usage_error(COMMAND, "--password and --password-stdin exclude each other")
        return sys.stdin.read().removesuffix("\n").removesuffix("\r")
    return arguments.text("password") or _ask(context, "Password: ", hidden=True)


def _ask(context: Context, question: str, *, hidden: bool) -> str:
    if not (sys.stdin is not None and sys.stdin.isatty() and context.err.isatty()):
        hint = "give --username and --password-stdin"
        raise LaminaError("ask for", question.rstrip(": ").lower(), "there is no terminal", hint)
    if hidden:
        from getpass import getpass

        return getpass(question, context.err)
    context.err.write(question)
    context.err.flush()
    return sys.stdin.readline().strip()


COMMAND = Command(
    "login",
    "keep name and password for a registry",
    _run,
    description=(
        "The registry is asked first. They are kept where docker keeps them, ~/.docker/config.json, which podman reads"
        " too, or where REGISTRY_AUTH_FILE says; by a credential helper, if that file names one."
    ),
    options=(
        Option("username", "the name", short="u", kind=TEXT, value="NAME"),
        Option("password", "the password, for all to see who list processes", short="p", kind=TEXT, value="PASSWORD"),
        Option("password-stdin", "read the password from standard input"),
    ),
    positionals=(Positional("REGISTRY", "HOST or HOST:PORT; docker.io by default", least=0),),
    examples=(("pass show registry | lamina login -u me --password-stdin registry.example", "from a password store"),),
)
