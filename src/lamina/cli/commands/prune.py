"""`lamina prune`: remove what nothing refers to."""

from __future__ import annotations

from lamina.cli.options import Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lamina.cli.context import Context
    from lamina.cli.options import Arguments


def _run(context: Context, arguments: Arguments) -> int:
    from lamina.cli.output import confirm
    from lamina.cli.text import size
    from lamina.errors import LaminaError

    if not arguments.flag("force") and not confirm(context, _QUESTION):
        raise LaminaError("prune", "", "nobody said yes", "--force does it without asking")
    collected = context.store().prune()
    for image in collected.images:
        context.print(image)
    context.print(f"freed {size(collected.size)}")
    return 0


_QUESTION = "Remove the layers that no image or container has, images without a name, and what crashes left?"

COMMAND = Command(
    "prune",
    "remove what nothing refers to",
    _run,
    description=(
        "Removes images that have no name and no container, layers and blobs that no image and no container has, and"
        " what a crash left half made. Asks first on a terminal; elsewhere it needs --force."
    ),
    options=(Option("force", "do not ask", short="f"),),
    examples=(("lamina prune --force", "from a script"),),
)
