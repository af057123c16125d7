"""`lamina images`: the images of the store."""

from __future__ import annotations

from lamina.cli.options import Command, Option
from lamina.cli.output import TABLE_OPTIONS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lamina.cli.context import Context
    from lamina.cli.options import Arguments


def _run(context: Context, arguments: Arguments) -> int:
    from lamina.cli.output import print_records
    from lamina.cli.records import age_of, image_records, short_id
    from lamina.cli.text import size

    whole = arguments.flag("no-trunc")
    records = image_records(context.store(), unnamed=arguments.flag("all"))
    # Where all are for one platform, which is this machine's, it is not worth a column.
    several = len({record["Platform"] for record in records}) > 1
    print_records(
        context,
        arguments,
        records,
        header=["REPOSITORY", "TAG", *["PLATFORM"] * several, "IMAGE ID", "CREATED", "SIZE"],
        row=lambda record: [
            str(record["Repository"] or "<none>"),
            str(record["Tag"] or "<none>"),
            *[str(record["Platform"] or record["Type"])] * several,
            short_id(record["Id"], whole=whole),
            age_of(record["Created"]),
            size(int(str(record["Size"]))),
        ],
        name=lambda record: short_id(record["Id"], whole=whole),
    )
    return 0


COMMAND = Command(
    "images",
    "list the images",
    _run,
    description=(
        "SIZE is what the layers of the image take unpacked; layers that images share are kept once. An index has a"
        " line for each of its images, and their platform is shown where there are several; an artifact, which is no"
        " image but was copied into the store, has its type in that place."
    ),
    options=(Option("all", "also images that have no name", short="a"), *TABLE_OPTIONS),
    examples=(
        ("lamina images", "what is there"),
        ("lamina images -q", "only the ids, for other commands"),
        ("lamina images --format json", "everything, for programs"),
    ),
)
