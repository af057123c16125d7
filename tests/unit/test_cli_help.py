"""What is made from the tables of the commands: help and reference."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lamina.cli.commands import GROUPS, NAMES, table_of
from lamina.cli.help import overview, page, spelling, usage
from lamina.cli.options import CHOICE, FLAG, LIST, OPTIONAL, TEXT, Command

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"
COMMANDS = [table_of(name) for name in NAMES]


def test_the_reference_is_current() -> None:
    done = subprocess.run([sys.executable, REFERENCE / "generate.py"], capture_output=True, text=True, check=True)
    assert done.stdout == (REFERENCE / "commands.md").read_text(), (
        "python docs/reference/generate.py >docs/reference/commands.md"
    )


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_tables_are_complete(command: Command) -> None:
    longs = [option.long for option in command.options]
    shorts = [option.short for option in command.options if option.short]
    assert len(set(longs)) == len(longs) and len(set(shorts)) == len(shorts)
    for option in command.options:
        assert option.help and not option.help.endswith(".")
        assert (option.value != "") == (option.kind in (TEXT, LIST, OPTIONAL)), option.long
        assert (option.choices != ()) == (option.kind == CHOICE), option.long
    assert command.name in NAMES and command.summary and not command.summary.endswith(".")
    assert command.description.endswith(".") or not command.description
    assert all(example.split()[0] for example, _ in command.examples)
    many = [positional.most is None for positional in command.positionals]
    assert not any(many[:-1]), "only the last positional may take many"
    assert not (command.tail and any(many))


def test_help() -> None:
    run = table_of("run")
    assert usage(run) == "lamina run [OPTION…] IMAGE [COMMAND [ARG…]]"
    assert usage(table_of("mount")) == "lamina mount [OPTION…] MERGED [-- COMMAND [ARG…]]"
    assert usage(table_of("rm")) == "lamina rm [OPTION…] [CONTAINER…]"
    spelled = {option.long: spelling(option) for option in run.options}
    assert spelled["env"] == "-e, --env NAME[=VALUE] …"
    assert spelled["network"] == "    --network host|none"
    assert spelled["init"] == "    --init"
    assert run.by_short("h") is run.by_long("hostname")
    text = page(run)
    assert all(spelling(option) in text for option in run.options)
    assert all(line in text for line, _ in run.examples)
    assert all(heading in overview() for heading, _ in GROUPS)
    assert {option.kind for option in run.options} == {FLAG, TEXT, LIST, CHOICE}
