"""`lamina inspect`: everything about images and containers, as JSON."""

from __future__ import annotations

from lamina.cli.options import CHOICE, TEXT, Command, Option, Positional

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lamina.cli.context import Context
    from lamina.cli.options import Arguments


def _run(context: Context, arguments: Arguments) -> int:
    from lamina.cli.output import print_json
    from lamina.cli.records import find

    store = context.store()
    print_json(
        context,
        [
            find(store, name, arguments.text("type"), platform=arguments.text("platform")).inspect()
            for name in arguments.positionals
        ],
    )
    return 0


COMMAND = Command(
    "inspect",
    "show everything about images and containers, as JSON",
    _run,
    description=(
        "Prints one JSON array with an object for each name, which is looked for among the containers first. What was"
        " chosen for this store is in it: the driver, the id map, where the directories lie."
    ),
    options=(
        Option("format", "JSON is the only format", kind=CHOICE, choices=("json",),
               hint="templates are not supported: take the fields out of the JSON"),
        Option("type", "look among these only", kind=CHOICE, choices=("image", "container")),
        Option("platform", "of an index, the image for this platform (default: this machine's)", kind=TEXT,
               value="OS/ARCH[/VARIANT]"),
    ),
    positionals=(Positional("IMAGE|CONTAINER", "a name, an id, or the beginning of one", most=None),),
    examples=(("lamina inspect debian:mine | jq '.[0].Layers'", "one field, with another program"),),
)  # fmt: skip
