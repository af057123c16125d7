"""`lamina bootstrap`: a base image made from Debian's packages."""

from __future__ import annotations

from lamina.cli.options import TEXT, Command, Option, Positional

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lamina.cli.context import Context
    from lamina.cli.options import Arguments


def _run(context: Context, arguments: Arguments) -> int:
    suite, name = arguments.positionals
    with context.progress() as on_event:
        image = context.store().bootstrap(suite, name, mirror=arguments.text("mirror") or None, on_event=on_event)
    context.print(image.id)
    return 0


COMMAND = Command(
    "bootstrap",
    "make a base image from Debian's packages",
    _run,
    description=(
        "Uses mmdebstrap, or debootstrap, and the mirrors that this machine's own apt uses unless --mirror names"
        " another. The image's id is printed."
    ),
    options=(Option("mirror", "get packages from here", kind=TEXT, value="URL"),),
    positionals=(
        Positional("SUITE", "bookworm, trixie, noble, …"),
        Positional("NAME[:TAG]", "what to call the image"),
    ),
    examples=(("lamina bootstrap bookworm debian:12", "a Debian with apt in it"),),
)
