"""`lamina pull`: an image from a registry."""

from __future__ import annotations

from lamina.cli.options import Command, Option, Positional
from lamina.cli.transferring import ALL_PLATFORMS, MAX_UNPACKED_SIZE, PLATFORM, PROGRESS, read_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lamina.cli.context import Context
    from lamina.cli.options import Arguments


def _run(context: Context, arguments: Arguments) -> int:
    from lamina.events import ignore

    most = read_size(COMMAND, arguments, "max-unpacked-size")
    quiet = arguments.flag("quiet")
    with context.store() as store:
        for name in arguments.positionals:
            with context.progress(arguments.text("progress", "auto")) as on_event:
                image = store.pull(
                    name,
                    platform=arguments.text("platform"),
                    all_platforms=arguments.flag("all-platforms"),
                    max_unpacked_size=most,
                    on_event=ignore if quiet else on_event,
                )
            context.print(image.id if quiet else image.name or image.id)
    return 0


COMMAND = Command(
    "pull",
    "take an image from a registry",
    _run,
    description=(
        "NAME is REGISTRY/REPOSITORY:TAG or REGISTRY/REPOSITORY@DIGEST; without a registry docker.io is meant, without"
        " a tag `latest`. What the store has is not fetched again. Mirrors and certificates are those of"
        " registries.conf and certs.d, names and passwords those of docker and podman."
    ),
    options=(
        PLATFORM,
        ALL_PLATFORMS,
        MAX_UNPACKED_SIZE,
        PROGRESS,
        Option("quiet", "print the image's id alone, and no progress", short="q"),
    ),
    positionals=(Positional("NAME", "what to pull", most=None),),
    examples=(
        ("lamina pull debian:bookworm", "from docker.io"),
        ("lamina pull --platform linux/arm64 registry.example/team/app:1", "for another machine"),
    ),
)
