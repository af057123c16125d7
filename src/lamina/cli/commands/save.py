"""`lamina save`: images into an archive."""

from __future__ import annotations

from lamina.cli.options import CHOICE, TEXT, Command, Option, Positional
from lamina.cli.transferring import ONE_PLATFORM, PROGRESS, binary_output, compression_option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lamina.cli.context import Context
    from lamina.cli.options import Arguments


def _run(context: Context, arguments: Arguments) -> int:
    target = arguments.text("output", "-")
    with context.store() as store, context.progress(arguments.text("progress", "auto")) as on_event:
        store.save(
            arguments.positionals,
            binary_output(context) if target == "-" else target,
            format=arguments.text("format", "oci-archive"),  # type: ignore[arg-type]  # a choice of the same words
            compression=arguments.text("compression", "none"),
            platform=arguments.text("platform"),
            on_event=on_event,
        )
    return 0


COMMAND = Command(
    "save",
    "write images to an archive",
    _run,
    description=(
        "An archive holds any number of images with the names that they are given by. `docker-archive` is read by"
        " docker, podman and skopeo, and by whatever reads `oci-archive`; `oci-dir` makes a directory, or adds to one."
        " Layers that came compressed are written as they came."
    ),
    options=(
        Option("output", "write to FILE instead of standard output", short="o", kind=TEXT, value="FILE"),
        Option(
            "format",
            "what to write (default: oci-archive)",
            kind=CHOICE,
            choices=("oci-archive", "docker-archive", "oci-dir"),
        ),
        compression_option("none"),
        ONE_PLATFORM,
        PROGRESS,
    ),
    positionals=(Positional("IMAGE", "a name or an id", most=None),),
    examples=(
        ("lamina save -o two.tar one:1 two:1", "two images in one file"),
        ("lamina save --format docker-archive debian:mine | docker load", "to another program"),
    ),
)
