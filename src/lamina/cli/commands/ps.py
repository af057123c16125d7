"""`lamina ps`: the containers of the store."""

from __future__ import annotations

from lamina.cli.options import Command, Option
from lamina.cli.output import TABLE_OPTIONS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lamina.cli.context import Context
    from lamina.cli.options import Arguments

_COMMAND_WIDTH = 30  # columns for the command where it is cut short


def _run(context: Context, arguments: Arguments) -> int:
    from lamina.cli.output import print_records
    from lamina.cli.records import age_of, container_records, short_id, status_text
    from lamina.cli.text import cut

    whole = arguments.flag("no-trunc")
    records = container_records(context.store(), ended=arguments.flag("all"))
    print_records(
        context,
        arguments,
        records,
        header=["CONTAINER ID", "NAME", "IMAGE", "COMMAND", "CREATED", "STATUS"],
        row=lambda record: [
            short_id(record["Id"], whole=whole),
            str(record["Name"]),
            str(record["Image"]),
            str(record["CommandLine"]) if whole else cut(str(record["CommandLine"]), _COMMAND_WIDTH),
            age_of(record["Created"]),
            status_text(record),
        ],
        name=lambda record: short_id(record["Id"], whole=whole),
    )
    return 0


COMMAND = Command(
    "ps",
    "list the containers that run, or all that are kept",
    _run,
    description=(
        "A container is what `lamina run` without --rm leaves: an upper directory with all that the command wrote,"
        " which can be looked at (`diff`, `show`), kept as an image (`commit`) or removed (`rm`)."
    ),
    options=(Option("all", "also those whose command has ended", short="a"), *TABLE_OPTIONS),
    examples=(("lamina ps -a", "all that are kept"),),
)
