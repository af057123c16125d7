"""`lamina rmi`: remove images."""

from __future__ import annotations

from lamina.cli.options import Command, Option, Positional

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lamina.cli.context import Context
    from lamina.cli.options import Arguments


def _run(context: Context, arguments: Arguments) -> int:
    from lamina.cli.removing import remove_each, wanted

    store, force = context.store(), arguments.flag("force")
    names = wanted(COMMAND, arguments, lambda: [image.id for image in store.images()])

    def remove(name: str) -> None:
        removed = store.remove_image(name, force=force or arguments.flag("all"))
        for line in (*removed.untagged, *removed.images):
            context.print(line)

    return remove_each(context, names, remove, missing_is_fine=force)


COMMAND = Command(
    "rmi",
    "remove names of images, and images",
    _run,
    description=(
        "A name is removed; with the last one the image, and the layers that no other image or container has. An id"
        " removes the image with all its names."
    ),
    options=(
        Option("all", "all of them", short="a"),
        Option("force", "also what containers were made from; no error for one that does not exist", short="f"),
    ),
    positionals=(Positional("IMAGE", "a name, an id, or the beginning of one", least=0, most=None),),
    examples=(("lamina rmi debian:mine", "remove the name, and the image if it has no other"),),
)
