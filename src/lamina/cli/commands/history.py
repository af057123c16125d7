"""`lamina history`: how an image was made, layer by layer."""

from __future__ import annotations

from lamina.cli.options import Command, Positional
from lamina.cli.output import FORMAT, NO_TRUNC, QUIET

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lamina.cli.context import Context
    from lamina.cli.options import Arguments

_MADE_BY_WIDTH = 60  # columns for the instruction where it is cut short


def _run(context: Context, arguments: Arguments) -> int:
    from lamina.cli.output import print_records
    from lamina.cli.records import age_of, history_records, short_id
    from lamina.cli.text import cut, size

    whole = arguments.flag("no-trunc")
    print_records(
        context,
        arguments,
        history_records(context.store().image(arguments.positionals[0])),
        header=["LAYER", "CREATED", "SIZE", "CREATED BY", "COMMENT"],
        row=lambda record: [
            short_id(record["DiffId"], whole=whole) if record["DiffId"] else "-",
            age_of(record["Created"]),
            size(int(str(record["Size"]))),
            str(record["CreatedBy"]) if whole else cut(str(record["CreatedBy"]), _MADE_BY_WIDTH),
            str(record["Comment"]),
        ],
        name=lambda record: short_id(record["DiffId"], whole=whole) if record["DiffId"] else "-",
    )
    return 0


COMMAND = Command(
    "history",
    "show how an image was made, newest step first",
    _run,
    description="A step that changed the configuration only has no layer.",
    options=(FORMAT, QUIET, NO_TRUNC),
    positionals=(Positional("IMAGE", "a name or an id"),),
    examples=(("lamina history --no-trunc debian:mine", "with the whole instructions"),),
)
