"""What `--help` shows, made from the table of the command."""

from __future__ import annotations

from lamina.cli.commands import GROUPS, table_of
from lamina.cli.options import CHOICE, FLAG, LIST, OPTIONAL, full_name
from lamina.cli.text import cells, pad, wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from lamina.cli.options import Command, Option, Positional

WIDTH = 100  # of a line of help; narrower terminals wrap it


def overview() -> str:
    """Return the help of the program: what it is, its commands by group, its options, examples."""
    from lamina.cli.main import LAMINA

    lines = [*_head(LAMINA)]
    width = max(len(name) for _, names in GROUPS for name in names)
    for heading, names in GROUPS:
        lines += ["", f"{heading}:", *(f"  {name:{width}}  {table_of(name).summary}" for name in names)]
    lines += _options(LAMINA) + _examples(LAMINA)
    lines += ["", "lamina COMMAND --help tells more about a command."]
    return "\n".join(lines)


def page(command: Command) -> str:
    """Return the help of one command."""
    lines = _head(command)
    described = [(positional.name, positional.help) for positional in command.positionals if positional.help]
    if described:
        lines += ["", "Arguments:", *_two_columns(described)]
    return "\n".join(lines + _options(command) + _examples(command))


def usage(command: Command) -> str:
    """Return the form of the command line, on one line."""
    words = [full_name(command)]
    words += ["[OPTION…]"] if command.options else []
    words += [_shape(positional) for positional in command.positionals]
    if command.tail:
        words += [f"[-- {command.tail}]"] if command.interspersed else [command.tail]
    return " ".join(words)


def spelling(option: Option) -> str:
    """Return the names of an option and what it takes: "-e, --env NAME[=VALUE] …"."""
    short = f"-{option.short}, " if option.short else "    "
    if option.kind == OPTIONAL:
        return f"{short}--{option.long}[={option.value}]"
    value = f" {value_of(option)}" if option.kind != FLAG else ""
    return f"{short}--{option.long}{value}{' …' if option.kind == LIST else ''}"


def value_of(option: Option) -> str:
    """Return what an option takes, as it is shown."""
    return "|".join(option.choices) if option.kind == CHOICE else option.value


def _shape(positional: Positional) -> str:
    text = positional.name + ("…" if positional.most is None else "")
    return text if positional.least else f"[{text}]"


def _head(command: Command) -> list[str]:
    lines = [f"usage: {usage(command)}", "", f"{command.summary[0].upper()}{command.summary[1:]}."]
    for paragraph in filter(None, command.description.split("\n\n")):
        lines += ["", *wrap(paragraph, WIDTH)]
    return lines


def _options(command: Command) -> list[str]:
    heading = "Options (… for those that may be repeated):" if _has_list(command) else "Options:"
    return ["", heading, *_two_columns([(spelling(option), option.help) for option in command.options])]


def _has_list(command: Command) -> bool:
    return any(option.kind == LIST for option in command.options)


def _examples(command: Command) -> list[str]:
    lines = ["", "Examples:"] if command.examples else []
    for line, explanation in command.examples:
        lines += [f"  {line}", *wrap(explanation, WIDTH, 6)]
    return lines


def _two_columns(rows: Sequence[tuple[str, str]]) -> list[str]:
    width = min(32, max(cells(left) for left, _ in rows))
    lines: list[str] = []
    for left, right in rows:
        wrapped = wrap(right, WIDTH, width + 4)
        if cells(left) > width:
            lines += [f"  {left}", *wrapped]
        else:
            lines += [f"  {pad(left, width)}  {wrapped[0].lstrip()}", *wrapped[1:]]
    return lines
