"""Commands and their options as values, and reading a command line with them.

The grammar is docker's: `-it` clusters, `-eA=b`, `-e A=b`, `--name x`, `--name=x`, `--flag=false`, lists by repetition,
`--` ends the options, and for a command that starts another one the first word that is no option ends them too. One
table serves reading, the errors, the help, the completion of shells and the reference page.

argparse cannot express this grammar and takes 8 ms to load: docs/decisions/0003-option-parser.md.
"""

from __future__ import annotations

from lamina.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lamina.cli.context import Context

FLAG, TEXT, LIST, CHOICE, OPTIONAL = "flag", "text", "list", "choice", "optional"

_TRUTHS = {"1": True, "t": True, "true": True, "0": False, "f": False, "false": False}


class Option:
    """One option of a command.

    `long` is its name without dashes, `short` one letter or "". `value` names what it takes ("DIR"): the help shows it
    and the completion goes by it. A list may be given many times, of the other kinds the last one counts. An optional
    one is a list, too: its value stands after `=`, and is "" where there is none. `hint` is shown with the error for a
    value that is none of the `choices`.
    """

    __slots__ = ("choices", "help", "hint", "kind", "long", "short", "value")

    def __init__(
        self,
        long: str,
        help: str,  # noqa: A002  # the word that a reader of a table expects
        *,
        short: str = "",
        kind: str = FLAG,
        value: str = "",
        choices: tuple[str, ...] = (),
        hint: str = "",
    ) -> None:
        self.long = long
        self.help = help
        self.short = short
        self.kind = kind
        self.value = value
        self.choices = choices
        self.hint = hint


class Positional:
    """An argument that has a place instead of a name; `most` is None where any number may follow."""

    __slots__ = ("help", "least", "most", "name")

    def __init__(self, name: str, help: str, *, least: int = 1, most: int | None = 1) -> None:  # noqa: A002  # as above
        self.name = name
        self.help = help
        self.least = least
        self.most = most


class Command:
    """A command: what it is called, what it takes, what it teaches, and the function that does it.

    `tail` names words that are handed on untouched ("COMMAND [ARG…]"), or is "". Where options may follow arguments
    (`interspersed`), the tail begins after `--`; where they may not, right after the last positional. `description` is
    paragraphs, `examples` pairs of a line to type and what it does.
    """

    __slots__ = ("description", "examples", "interspersed", "name", "options", "positionals", "run", "summary", "tail")

    def __init__(
        self,
        name: str,
        summary: str,
        run: Callable[[Context, Arguments], int],
        *,
        description: str = "",
        options: tuple[Option, ...] = (),
        positionals: tuple[Positional, ...] = (),
        tail: str = "",
        interspersed: bool = True,
        examples: tuple[tuple[str, str], ...] = (),
    ) -> None:
        self.name = name
        self.summary = summary
        self.run = run
        self.description = description
        taken = any(option.short == "h" for option in options)
        self.options = (*options, Option("help", "show this help", short="" if taken else "h"))
        self.positionals = positionals
        self.tail = tail
        self.interspersed = interspersed
        self.examples = examples

    def by_long(self, name: str) -> Option | None:
        """Return the option called --`name`."""
        return next((option for option in self.options if option.long == name), None)

    def by_short(self, letter: str) -> Option | None:
        """Return the option called -`letter`."""
        return next((option for option in self.options if option.short == letter), None)


class Arguments:
    """A command line as read: options by long name, positionals in order, and the tail.

    Asking for an option that the command does not declare, or as another kind, is a mistake of the program and raises
    KeyError or TypeError.
    """

    __slots__ = ("_kinds", "positionals", "tail", "values")

    def __init__(self, command: Command) -> None:
        self._kinds = {option.long: option.kind for option in command.options}
        self.values: dict[str, bool | str | list[str]] = {}
        self.positionals: list[str] = []
        self.tail: list[str] = []

    def flag(self, name: str) -> bool:
        """Return whether --`name` was given."""
        return self._value(name, FLAG) is True

    def text(self, name: str, default: str = "") -> str:
        """Return the text of --`name`, or `default`."""
        value = self._value(name, TEXT, CHOICE)
        return value if isinstance(value, str) else default

    def given(self, name: str) -> bool:
        """Return whether --`name` stands on the command line at all, be its value empty or false."""
        if name not in self._kinds:
            raise KeyError(name)
        return name in self.values

    def texts(self, name: str) -> list[str]:
        """Return all values of --`name` in their order."""
        value = self._value(name, LIST, OPTIONAL)
        return list(value) if isinstance(value, list) else []

    def _value(self, name: str, *kinds: str) -> object:
        if self._kinds[name] not in kinds:
            raise TypeError(f"--{name} is a {self._kinds[name]}")
        return self.values.get(name)


class UnknownOption(UsageError):
    """An option, `spelled` as it was typed, that the command does not have."""

    def __init__(self, command: Command, spelled: str, within: str) -> None:
        self.spelled = spelled
        where = f" in {within}" if within not in ("", spelled) else ""
        hint = did_you_mean(spelled, [f"--{option.long}" for option in command.options]) or _help_hint(command)
        super().__init__("read", "", f"unknown option {spelled}{where}", hint)


def usage_error(command: Command, reason: str, hint: str = "") -> UsageError:
    """Return the error for a malformed command line; the usual hint is where to read how it is formed."""
    return UsageError("read", "", reason, hint or _help_hint(command))


def _help_hint(command: Command) -> str:
    return f"{full_name(command)} --help shows what it takes"


def full_name(command: Command) -> str:
    """Return what is typed to reach `command`."""
    return command.name if command.name == "lamina" else f"lamina {command.name}"


def parse(command: Command, words: Sequence[str]) -> Arguments:
    """Read `words`, which follow the command's name. Raises UsageError.

    With --help nothing after it is read or checked.
    """
    arguments = Arguments(command)
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word == "--":
            _end_of_options(command, arguments, rest)
            break
        if word.startswith("--"):
            _long(command, arguments, word, rest)
        elif len(word) > 1 and word.startswith("-"):
            _cluster(command, arguments, word, rest)
        else:
            arguments.positionals.append(word)
            if not command.interspersed and len(arguments.positionals) >= len(command.positionals):
                arguments.tail = rest
                break
        if "help" in arguments.values:
            return arguments
    _check_count(command, arguments)
    return arguments


def _end_of_options(command: Command, arguments: Arguments, rest: list[str]) -> None:
    """Take what follows `--`: the tail, but for positionals that are still missing before it."""
    if not command.tail:
        arguments.positionals += rest
        return
    missing = 0 if command.interspersed else len(command.positionals) - len(arguments.positionals)
    arguments.positionals += rest[:missing]
    arguments.tail = rest[missing:]


def _long(command: Command, arguments: Arguments, word: str, rest: list[str]) -> None:
    name, equals, value = word[2:].partition("=")
    option = command.by_long(name)
    if option is None:
        raise UnknownOption(command, f"--{name}", "")
    if equals:
        _store(command, arguments, option, word.partition("=")[0], value)
    elif option.kind == FLAG:
        arguments.values[option.long] = True
    elif option.kind == OPTIONAL:
        _store(command, arguments, option, word, "")
    else:
        _store(command, arguments, option, word, _next(command, word, rest))


def _cluster(command: Command, arguments: Arguments, word: str, rest: list[str]) -> None:
    """Read `-abc`: flags, the last of which may take the remaining letters, or the next word, for its value."""
    letters = word[1:]
    while letters:
        letter, letters = letters[0], letters[1:]
        option = command.by_short(letter)
        if option is None:
            raise UnknownOption(command, f"-{letter}", word)
        if letters.startswith("="):
            _store(command, arguments, option, f"-{letter}", letters[1:])
            return
        if option.kind == FLAG:
            arguments.values[option.long] = True
            continue
        _store(command, arguments, option, f"-{letter}", letters or _next(command, f"-{letter}", rest))
        return


def _next(command: Command, spelled: str, rest: list[str]) -> str:
    if not rest:
        raise usage_error(command, f"{spelled} needs a value")
    return rest.pop(0)


def _store(command: Command, arguments: Arguments, option: Option, spelled: str, value: str) -> None:
    values = arguments.values
    if option.kind in (LIST, OPTIONAL):
        earlier = values.get(option.long)
        values[option.long] = [*earlier, value] if isinstance(earlier, list) else [value]
    elif option.kind == FLAG:
        if value.lower() not in _TRUTHS:
            raise usage_error(command, f"{spelled} is true or false, not {value!r}")
        values[option.long] = _TRUTHS[value.lower()]
    elif option.kind == CHOICE and value not in option.choices:
        raise usage_error(command, f"{spelled} is {_or(option.choices)}, not {value!r}", option.hint)
    else:
        values[option.long] = value


def _check_count(command: Command, arguments: Arguments) -> None:
    given = len(arguments.positionals)
    wanted = 0
    for positional in command.positionals:
        wanted += positional.least
        if given < wanted:
            raise usage_error(command, f"{positional.name} is missing")
        if positional.most is None:
            return
    most = sum(positional.most or 0 for positional in command.positionals)
    if given > most:
        hint = f"put -- before the command: … -- {arguments.positionals[most]} …" if command.tail else ""
        raise usage_error(command, f"unexpected argument {arguments.positionals[most]!r}", hint)


def did_you_mean(word: str, known: list[str]) -> str:
    """Return the hint that names what of `known` looks like `word`, or ""."""
    from difflib import get_close_matches  # loads re: only for a mistake

    close = [name for name in known if len(word.lstrip("-")) > 1 and name.startswith(word)]
    close = close or get_close_matches(word, known, n=1, cutoff=0.6)
    return f"did you mean {close[0]}?" if close else ""


def _or(words: Sequence[str]) -> str:
    return " or ".join((", ".join(words[:-1]), words[-1])) if len(words) > 1 else words[0]
