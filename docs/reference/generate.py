"""Print commands.md, the reference of the command line, from the tables of the commands.

    python docs/reference/generate.py >docs/reference/commands.md

A test fails when the two differ.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from lamina.cli.commands import GROUPS, table_of
from lamina.cli.help import spelling, usage
from lamina.cli.main import LAMINA
from lamina.cli.options import Command

_PREFACE = """\
# Commands

Made from the same tables as `--help`, by `docs/reference/generate.py`.

Results go to standard output, everything else to standard error. An error is one line, `lamina: …`, and where
something helps a second one, `hint: …`. The exit status is 0, 2 for a malformed command line, 125 for what could not be
done, 130 after Ctrl-C. `run` and `mount … -- COMMAND` return the status of the command, 126 if it cannot be executed
and 127 if it does not exist; `run` also 128 + N if signal N ended it.

Options may be written `--name value`, `--name=value`, `-n value`, `-nvalue`; flags of one letter together (`-it`).
A flag is switched off by `--flag=false`; `--` ends the options. An option with … behind it may be repeated. What
--format json prints is in [json.md](json.md)."""


def document() -> str:
    """Return the page."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield _PREFACE
    yield from _command(LAMINA, "##")
    for heading, names in GROUPS:
        yield ""
        yield f"## {heading}"
        for name in names:
            yield from _command(table_of(name), "###")


def _command(command: Command, heading: str) -> Iterator[str]:
    yield ""
    yield f"{heading} {command.name if command.name == 'lamina' else f'lamina {command.name}'}"
    yield ""
    yield f"    {usage(command)}"
    yield ""
    yield f"{command.summary[0].upper()}{command.summary[1:]}."
    for paragraph in filter(None, command.description.split("\n\n")):
        yield ""
        yield paragraph
    described = [positional for positional in command.positionals if positional.help]
    if described:
        yield ""
        yield "| argument | |"
        yield "|---|---|"
        for positional in described:
            yield f"| `{positional.name}` | {_cell(positional.help)} |"
    yield ""
    yield "| option | |"
    yield "|---|---|"
    for option in command.options:
        yield f"| `{_cell(spelling(option).strip())}` | {_cell(option.help)} |"
    for line, explanation in command.examples:
        yield ""
        yield f"`{line}`: {explanation}."


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(document())
