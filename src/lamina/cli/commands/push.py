"""`lamina push`: an image to a registry."""

from __future__ import annotations

from lamina.cli.options import Command, Option, Positional
from lamina.cli.transferring import ONE_PLATFORM, PROGRESS, compression_option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lamina.cli.context import Context
    from lamina.cli.options import Arguments


def _run(context: Context, arguments: Arguments) -> int:
    from lamina.events import ignore

    image = arguments.positionals[0]
    name = arguments.positionals[1] if len(arguments.positionals) > 1 else ""
    with context.store() as store, context.progress(arguments.text("progress", "auto")) as on_event:
        digest = store.push(
            image,
            name,
            compression=arguments.text("compression", "gzip"),
            platform=arguments.text("platform"),
            on_event=ignore if arguments.flag("quiet") else on_event,
        )
    context.print(digest)
    return 0


COMMAND = Command(
    "push",
    "send an image to a registry",
    _run,
    description=(
        "Sends IMAGE to the registry that its name, or NAME, begins with, and prints the digest of the manifest there."
        " What the registry has is not sent again, and layers that came compressed are sent as they came."
    ),
    options=(compression_option("gzip"), ONE_PLATFORM, PROGRESS, Option("quiet", "show no progress", short="q")),
    positionals=(
        Positional("IMAGE", "a name or an id"),
        Positional("NAME", "where to, if not to where its own name says", least=0),
    ),
    examples=(
        ("lamina push registry.example/team/app:1", "to where the name says"),
        ("lamina push app:1 registry.example/team/app:1", "under another name"),
    ),
)
