"""How results are printed: a table for people, JSON for programs, names alone with -q. docs/reference/json.md.

A table is plain aligned columns on a terminal and in a pipe alike: it can be copied, and costs no time to load. Both
forms are made from the same records, so that they cannot tell different stories.
"""

from __future__ import annotations

from lamina.cli.options import CHOICE, Option
from lamina.cli.text import columns
from lamina.errors import one_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeAlias

    from lamina.cli.context import Context
    from lamina.cli.options import Arguments

    Record: TypeAlias = dict[str, object]

FORMAT = Option(
    "format",
    "how to print",
    kind=CHOICE,
    choices=("table", "json"),
    hint="templates are not supported: take the fields out of --format json",
)
QUIET = Option("quiet", "print only the names, one a line", short="q")
NO_TRUNC = Option("no-trunc", "cut nothing short")
TABLE_OPTIONS = (FORMAT, QUIET, NO_TRUNC)


def print_records(
    context: Context,
    arguments: Arguments,
    records: Sequence[Record],
    *,
    header: Sequence[str],
    row: Callable[[Record], Sequence[str]],
    name: Callable[[Record], str],
) -> None:
    """Print `records` as --format and --quiet say: `row` makes a line of the table, `name` what -q shows."""
    if arguments.text("format") == "json":
        print_json(context, records)
    elif arguments.flag("quiet"):
        for text in dict.fromkeys(map(name, records)):  # an image with two names is one image
            context.print(text)
    else:
        for line in columns(header, [[one_line(cell) for cell in row(record)] for record in records]):
            context.print(line)


def print_json(context: Context, value: object) -> None:
    """Print `value` as JSON. Bytes of a name that are not UTF-8 stand as lone surrogates (\\udc80 to \\udcff)."""
    import json

    context.print(json.dumps(value, indent=2))


def confirm(context: Context, question: str) -> bool:
    """Ask on the terminal; without one the answer is no. Only `y` and `yes` are a yes."""
    import sys

    if not (sys.stdin is not None and sys.stdin.isatty() and context.err.isatty()):
        return False
    context.err.write(f"{question} [y/N] ")
    context.err.flush()
    return sys.stdin.readline().strip().lower() in {"y", "yes"}
