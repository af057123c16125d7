"""`lamina completion`: the script that teaches a shell to complete lamina's command line."""

from __future__ import annotations

from lamina.cli.options import TEXT, Command, Option, Positional, usage_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lamina.cli.context import Context
    from lamina.cli.options import Arguments


def _run(context: Context, arguments: Arguments) -> int:
    from lamina.cli.completion import SHELLS, complete, for_shell, script

    shell = arguments.positionals[0]
    if shell not in SHELLS:
        raise usage_error(COMMAND, f"SHELL is bash, zsh or fish, not {shell!r}")
    if arguments.given("line"):
        line = arguments.text("line")
        for answer in for_shell(shell, line, complete(context, line)):
            context.print(answer)
    else:
        context.print(script(shell))
    return 0


COMMAND = Command(
    "completion",
    "print the script that makes a shell complete lamina's commands",
    _run,
    description=(
        "Prints a script for bash, zsh or fish. With it the tab key completes commands, options, and the names of"
        " images and containers."
    ),
    options=(Option("line", "print what may complete LINE (what the scripts call)", kind=TEXT, value="LINE"),),
    positionals=(Positional("SHELL", "bash, zsh or fish"),),
    examples=(
        ("source <(lamina completion bash)", "for this shell; the line may stand in ~/.bashrc"),
        ("lamina completion zsh >~/.zfunc/_lamina", "in a directory of zsh's $fpath"),
        ("lamina completion fish >~/.config/fish/completions/lamina.fish", "fish reads it from there"),
    ),
)
