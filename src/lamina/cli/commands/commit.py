"""`lamina commit`: what a container changed becomes a layer, and the layer an image."""

from __future__ import annotations

from lamina.cli.commands.import_ import CHANGE
from lamina.cli.options import TEXT, Command, Option, Positional

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lamina.cli.context import Context
    from lamina.cli.options import Arguments


def _run(context: Context, arguments: Arguments) -> int:
    container, name = arguments.positionals
    with context.progress() as on_event:
        image = (
            context.store()
            .container(container)
            .commit(
                name,
                changes=arguments.texts("change"),
                message=arguments.text("message"),
                author=arguments.text("author"),
                standalone=arguments.flag("standalone"),
                on_event=on_event,
            )
        )
    context.print(image.id)
    return 0


COMMAND = Command(
    "commit",
    "keep what a container changed as an image",
    _run,
    description=(
        "Reads the container's upper directory only, so it takes as long as the change is large. What was bound into"
        " the container is not in the layer. The container stays as it is. The image's id is printed.\n\n"
        "What was changed over `host` belongs to this machine, and runs over its `host` only;"
        " --standalone makes an image of it that runs anywhere."
    ),
    options=(
        CHANGE,
        Option("message", "a comment for the image's history", short="m", kind=TEXT, value="TEXT"),
        Option("author", "who made it", short="a", kind=TEXT, value="NAME"),
        Option("standalone", "put all that the container sees into one layer, this machine's files included"),
    ),
    positionals=(
        Positional("CONTAINER", "a name, an id, or the beginning of one"),
        Positional("NAME[:TAG]", "what to call the image"),
    ),
    examples=(
        ("lamina commit build debian:new", "the next layer"),
        ("lamina commit -c 'CMD [\"nginx\"]' build web:1", "with a command to run by default"),
    ),
)
