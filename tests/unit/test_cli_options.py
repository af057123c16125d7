"""Reading a command line: docker's grammar, and what is said about one that cannot be read."""

from __future__ import annotations

import pytest

from lamina.cli.options import CHOICE, LIST, TEXT, Arguments, Command, Option, Positional, parse
from lamina.errors import UsageError

OPTIONS = (
    Option("interactive", "", short="i"),
    Option("tty", "", short="t"),
    Option("env", "", short="e", kind=LIST, value="NAME=VALUE"),
    Option("name", "", kind=TEXT),
    Option("count", "", short="n", kind=TEXT),
    Option("format", "", kind=CHOICE, choices=("table", "json"), hint="no templates"),
    Option("hostname", "", short="h", kind=TEXT),
)


def nothing(context: object, arguments: Arguments) -> int:
    return 0


RUN = Command(
    "run", "", nothing, options=OPTIONS, positionals=(Positional("IMAGE", ""),), tail="COMMAND", interspersed=False
)
MOUNT = Command("mount", "", nothing, options=OPTIONS, positionals=(Positional("MERGED", ""),), tail="COMMAND")
REMOVE = Command("rm", "", nothing, options=OPTIONS, positionals=(Positional("CONTAINER", "", least=0, most=None),))
COPY = Command("copy", "", nothing, positionals=(Positional("FROM", ""), Positional("TO", "", least=0)))


@pytest.mark.parametrize(
    "words",
    [
        ["-it", "-eA=b", "image"],
        ["-i", "-t", "-e", "A=b", "image"],
        ["-ite", "A=b", "image"],
        ["-iteA=b", "image"],
        ["--interactive", "--tty=true", "--env", "A=b", "image"],
        ["-i=1", "-t=T", "-e=A=b", "--", "image"],
        ["--interactive=TRUE", "--tty", "--env=A=b", "image"],
    ],
)
def test_spellings_of_the_same_command_line(words: list[str]) -> None:
    arguments = parse(RUN, words)
    assert arguments.flag("interactive") and arguments.flag("tty")
    assert arguments.texts("env") == ["A=b"]
    assert arguments.positionals == ["image"] and arguments.tail == []


def test_options_end_at_the_image() -> None:
    arguments = parse(RUN, ["--name", "x", "image", "ls", "-l", "--", "--name", "y"])
    assert arguments.text("name") == "x"
    assert arguments.tail == ["ls", "-l", "--", "--name", "y"]


def test_a_command_behind_two_dashes() -> None:
    assert parse(RUN, ["host", "--", "sh", "-c", "x"]).tail == ["--", "sh", "-c", "x"]
    arguments = parse(MOUNT, ["merged", "--name", "x", "--", "sh", "--name", "y"])
    assert arguments.text("name") == "x"
    assert arguments.positionals == ["merged"] and arguments.tail == ["sh", "--name", "y"]


def test_options_may_follow_arguments_elsewhere() -> None:
    arguments = parse(REMOVE, ["a", "-i", "b", "--", "-t", "--"])
    assert arguments.flag("interactive") and not arguments.flag("tty")
    assert arguments.positionals == ["a", "b", "-t", "--"]


def test_values() -> None:
    arguments = parse(
        REMOVE, ["-n", "-12", "--env", "a", "--env=", "-e", "-t", "--name=", "--name=last", "--tty=false"]
    )
    assert arguments.text("count") == "-12"
    assert arguments.texts("env") == ["a", "", "-t"]
    assert arguments.text("name") == "last"
    assert not arguments.flag("tty") and arguments.given("tty") and not arguments.given("interactive")
    assert arguments.text("format", "table") == "table"
    assert parse(REMOVE, ["-"]).positionals == ["-"]


def test_help_is_shown_however_malformed_the_rest_is() -> None:
    assert parse(RUN, ["--name", "x", "--help", "--nonsense"]).flag("help")
    assert parse(COPY, ["-h"]).flag("help")
    assert parse(RUN, ["-h", "box", "image"]).text("hostname") == "box"
    assert not parse(RUN, ["image", "--help"]).flag("help")


@pytest.mark.parametrize(
    ("command", "words", "reason", "hint"),
    [
        (RUN, ["--nam", "x"], "unknown option --nam", "did you mean --name?"),
        (RUN, ["--int", "x"], "unknown option --int", "did you mean --interactive?"),
        (RUN, ["--zzz"], "unknown option --zzz", "lamina run --help shows what it takes"),
        (RUN, ["-itx", "image"], "unknown option -x in -itx", "lamina run --help shows what it takes"),
        (RUN, ["-x", "image"], "unknown option -x", "lamina run --help shows what it takes"),
        (RUN, ["--name"], "--name needs a value", "lamina run --help shows what it takes"),
        (RUN, ["-ie"], "-e needs a value", "lamina run --help shows what it takes"),
        (RUN, [], "IMAGE is missing", "lamina run --help shows what it takes"),
        (RUN, ["--", "--"], "", ""),
        (RUN, ["--tty=maybe"], "--tty is true or false, not 'maybe'", "lamina run --help shows what it takes"),
        (RUN, ["--format", "{{.ID}}"], "--format is table or json, not '{{.ID}}'", "no templates"),
        (MOUNT, ["m", "sh"], "unexpected argument 'sh'", "put -- before the command: … -- sh …"),
        (COPY, ["a", "b", "c"], "unexpected argument 'c'", "lamina copy --help shows what it takes"),
    ],
)
def test_what_is_said_about_mistakes(command: Command, words: list[str], reason: str, hint: str) -> None:
    if not reason:
        assert parse(command, words).positionals == ["--"]
        return
    with pytest.raises(UsageError) as raised:
        parse(command, words)
    assert str(raised.value) == reason
    assert raised.value.hint == hint
    assert raised.value.status == 2


def test_asking_for_what_is_not_declared_is_a_mistake_of_the_program() -> None:
    arguments = parse(RUN, ["image"])
    with pytest.raises(KeyError):
        arguments.flag("nam")
    with pytest.raises(KeyError):
        arguments.given("nam")
    with pytest.raises(TypeError):
        arguments.flag("name")
