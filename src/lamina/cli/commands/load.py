"""`lamina load`: images out of an archive."""

from __future__ import annotations

from lamina.cli.options import TEXT, Command, Option
from lamina.cli.transferring import ALL_PLATFORMS, MAX_UNPACKED_SIZE, PLATFORM, PROGRESS, read_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lamina.cli.context import Context
    from lamina.cli.options import Arguments


def _run(context: Context, arguments: Arguments) -> int:
    import sys

    most = read_size(COMMAND, arguments, "max-unpacked-size")
    source = arguments.text("input", "-")
    with context.store() as store, context.progress(arguments.text("progress", "auto")) as on_event:
        images = store.load(
            sys.stdin.buffer if source == "-" else source,
            platform=arguments.text("platform"),
            all_platforms=arguments.flag("all-platforms"),
            max_unpacked_size=most,
            on_event=on_event,
        )
        said: list[str] = []
        for image in images:
            said += [f"Loaded image: {name}" for name in image.names] or [f"Loaded image ID: {image.id}"]
        for line in dict.fromkeys(said):  # the images of an index have one name together
            context.print(line)
    return 0


COMMAND = Command(
    "load",
    "take in images from an archive",
    _run,
    description=(
        "The archive is one that `lamina save`, docker, podman or skopeo wrote: OCI's or docker's, compressed or not."
        " FILE may also be the directory of an OCI image layout. What each image is called is printed."
    ),
    options=(
        Option("input", "read FILE instead of standard input", short="i", kind=TEXT, value="FILE"),
        PLATFORM,
        ALL_PLATFORMS,
        MAX_UNPACKED_SIZE,
        PROGRESS,
    ),
    examples=(
        ("lamina load -i image.tar", "from a file"),
        ("docker save alpine | lamina load", "from another program"),
    ),
)
