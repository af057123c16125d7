"""`lamina copy`: an image from one place to another."""

from __future__ import annotations

from lamina.cli.options import Command, Positional
from lamina.cli.transferring import ALL_PLATFORMS, PLATFORM, PROGRESS, compression_option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lamina.cli.context import Context
    from lamina.cli.options import Arguments


def _run(context: Context, arguments: Arguments) -> int:
    source, target = arguments.positionals
    with context.store() as store, context.progress(arguments.text("progress", "auto")) as on_event:
        store.copy(
            source,
            target,
            platform=arguments.text("platform"),
            all_platforms=arguments.flag("all-platforms"),
            compression=arguments.text("compression", "gzip"),
            on_event=on_event,
        )
    return 0


_PLACE = "a name in the store, docker://NAME, oci:DIR[:NAME], oci-archive:FILE[:NAME] or docker-archive:FILE[:NAME]"

COMMAND = Command(
    "copy",
    "copy an image from one place to another",
    _run,
    description=(
        "Copies between registries, OCI image layouts, archives and the store, byte for byte; only what goes into the"
        " store is unpacked. Of an index one image is copied, unless --all-platforms is given. Artifacts, which are no"
        " images, are kept as they are, also in the store."
    ),
    options=(
        PLATFORM,
        ALL_PLATFORMS,
        compression_option("gzip"),
        PROGRESS,
    ),
    positionals=(Positional("SOURCE", _PLACE), Positional("TARGET", "the same")),
    examples=(
        ("lamina copy oci:layout:app debian:mine", "from a directory into the store"),
        ("lamina copy --all-platforms docker://registry.example/app:1 oci:layout:app", "a registry's image as files"),
        ("lamina copy debian:mine docker-archive:debian.tar", "out of the store"),
    ),
)
