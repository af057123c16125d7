"""Laws of the option parser: it raises nothing but UsageError, and reads back what was written."""

from __future__ import annotations

import string

from hypothesis import given
from hypothesis import strategies as st

from lamina.cli.commands import NAMES, table_of
from lamina.cli.options import CHOICE, FLAG, LIST, TEXT, Arguments, Command, Option, Positional, parse
from lamina.errors import UsageError

COMMANDS = [table_of(name) for name in NAMES]
TEXTS = st.text(max_size=8)


def nothing(context: object, arguments: Arguments) -> int:
    return 0


@st.composite
def options(draw: st.DrawFn) -> tuple[Option, ...]:
    longs = draw(st.lists(st.text("abcdz-", min_size=2, max_size=5), unique=True, max_size=5))
    shorts = draw(st.permutations(string.ascii_lowercase.replace("h", "")))
    kinds = [draw(st.sampled_from([FLAG, TEXT, LIST, CHOICE])) for _ in longs]
    return tuple(
        Option(long, "", short=short if draw(st.booleans()) else "", kind=kind, choices=("one", "two"))
        for long, short, kind in zip(longs, shorts, kinds, strict=False)
        if long.strip("-") and not long.startswith("-") and long != "help"
    )


@st.composite
def commands(draw: st.DrawFn) -> Command:
    interspersed = draw(st.booleans())
    positionals = tuple(Positional(name, "") for name in draw(st.sampled_from([(), ("A",), ("A", "B")])))
    tail = "COMMAND" if draw(st.booleans()) else ""
    # Where the tail follows the last positional there has to be one.
    if not positionals and tail and not interspersed:
        tail = ""
    return Command(
        "c", "", nothing, options=draw(options()), positionals=positionals, tail=tail, interspersed=interspersed
    )


def words_of(draw: st.DrawFn, command: Command) -> tuple[list[str], dict[str, object], list[str], list[str]]:
    """Draw a command line and what it means."""
    words: list[str] = []
    meant: dict[str, object] = {}
    chosen = (
        draw(st.lists(st.sampled_from([o for o in command.options if o.long != "help"]), max_size=6))
        if len(command.options) > 1
        else []
    )
    for option in chosen:
        value: object
        if option.kind == FLAG:
            value = draw(st.booleans())
            text = "true" if value else "false"
        elif option.kind == CHOICE:
            value = text = draw(st.sampled_from(option.choices))
        else:
            value = text = draw(TEXTS)
        if option.kind == LIST:
            earlier = meant.get(option.long)
            value = [*(earlier if isinstance(earlier, list) else []), text]
        meant[option.long] = value
        spellings = [[f"--{option.long}={text}"]]
        if option.kind != FLAG:
            spellings.append([f"--{option.long}", text])
        if option.short:
            spellings.append([f"-{option.short}={text}"])
            if option.kind != FLAG:
                spellings.append([f"-{option.short}", text])
            if option.kind != FLAG and text and not text.startswith("="):
                spellings.append([f"-{option.short}{text}"])
        words += draw(st.sampled_from(spellings))
    plain = TEXTS.filter(lambda text: text in ("", "-") or not text.startswith("-"))
    positionals = [draw(plain) for _ in command.positionals]
    tail = draw(st.lists(TEXTS, max_size=4)) if command.tail else []
    words += positionals
    if command.tail:
        words += (["--"] if command.interspersed else []) + tail
    return words, meant, positionals, tail


@given(st.data())
def test_what_was_written_is_read(data: st.DataObject) -> None:
    command = data.draw(commands())
    words, values, positionals, tail = data.draw(st.composite(words_of)(command))
    arguments = parse(command, words)
    assert arguments.values == values
    assert arguments.positionals == positionals
    assert arguments.tail == tail


WORDS = st.one_of(
    TEXTS,
    st.sampled_from(
        ["--", "-", "---", "-=", "--=", "--=x", "-it", "-e", "--help=maybe", "--no-trunc=", "--\udcff", "-\n"]
    ),
    st.sampled_from([f"--{option.long}" for command in COMMANDS for option in command.options]),
    st.builds(str.__add__, st.sampled_from([f"--{o.long}=" for command in COMMANDS for o in command.options]), TEXTS),
    st.builds(str.__add__, st.just("-"), st.text("itevuwhq=x1", min_size=1, max_size=5)),
)


@given(st.sampled_from(COMMANDS), st.lists(WORDS, max_size=6))
def test_nothing_but_a_usage_error(command: Command, words: list[str]) -> None:
    try:
        arguments = parse(command, words)
    except UsageError as error:
        assert str(error) and "\n" not in str(error)
    else:
        given = len(arguments.positionals) + len(arguments.tail)
        assert given <= len(words)
