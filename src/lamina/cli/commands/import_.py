"""`lamina import`: a root file system becomes an image of one layer."""

from __future__ import annotations

from lamina.cli.options import LIST, TEXT, Command, Option, Positional

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lamina.cli.context import Context
    from lamina.cli.options import Arguments


def _run(context: Context, arguments: Arguments) -> int:
    import sys

    source, name = arguments.positionals
    with context.progress() as on_event:
        image = context.store().import_rootfs(
            sys.stdin.buffer if source == "-" else source,
            name,
            changes=arguments.texts("change"),
            message=arguments.text("message"),
            on_event=on_event,
        )
    context.print(image.id)
    return 0


CHANGE = Option(
    "change",
    "set a part of the image's configuration, in a Dockerfile's words: ENV A=b, CMD [\"sh\"], USER, WORKDIR, …",
    short="c",
    kind=LIST,
    value="INSTRUCTION",
)

COMMAND = Command(
    "import",
    "make an image of a root file system",
    _run,
    description=(
        "ROOTFS is a tar, plain or compressed (gzip, zstd, xz), a directory, or - for a tar on standard input. It"
        " becomes the only layer of a new image, whose id is printed."
    ),
    options=(CHANGE, Option("message", "a comment for the image's history", short="m", kind=TEXT, value="TEXT")),
    positionals=(
        Positional("ROOTFS", "a tar, a directory, or - for standard input"),
        Positional("NAME[:TAG]", "what to call the image"),
    ),
    examples=(
        ("lamina import rootfs.tar.gz debian:mine", "from a file"),
        ("docker export CONTAINER | lamina import - alpine:mine", "from another program"),
        ("lamina import --change 'CMD [\"bash\"]' rootfs.tar debian:mine", "with a command to run by default"),
    ),
)
