"""`lamina attach`: files beside an image at its registry."""

from __future__ import annotations

from lamina.cli.options import LIST, TEXT, Command, Option, Positional, usage_error
from lamina.cli.transferring import PROGRESS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lamina.cli.context import Context
    from lamina.cli.options import Arguments


def _run(context: Context, arguments: Arguments) -> int:
    from lamina.api.transfers import attach

    kind = arguments.text("type")
    if "/" not in kind:
        raise usage_error(COMMAND, "--type is missing, or no media type", "for example --type application/spdx+json")
    annotations = {}
    for text in arguments.texts("annotation"):
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise usage_error(COMMAND, f"--annotation is NAME=VALUE, not {text!r}")
        annotations[name] = value
    name, *paths = arguments.positionals
    with context.progress(arguments.text("progress", "auto")) as on_event:
        digest = attach(
            name,
            paths,
            artifact_type=kind,
            media_type=arguments.text("media-type") or kind,
            annotations=annotations,
            on_event=on_event,
        )
    context.print(digest)
    return 0


COMMAND = Command(
    "attach",
    "attach files to an image at its registry",
    _run,
    description=(
        "Sends the files as one artifact that refers to NAME, and prints its digest. Nothing about the image itself"
        " changes. Works with registries that know of referrers and with those that do not."
    ),
    options=(
        Option("type", "what the artifact is, as a media type", kind=TEXT, value="TYPE"),
        Option("media-type", "what the files are (default: the same)", kind=TEXT, value="TYPE"),
        Option("annotation", "a note on the artifact", kind=LIST, value="NAME=VALUE"),
        PROGRESS,
    ),
    positionals=(
        Positional("NAME", "an image at a registry"),
        Positional("FILE", "what to attach", most=None),
    ),
    examples=(
        ("lamina attach --type application/spdx+json registry.example/team/app:1 sbom.json", "a bill of materials"),
    ),
)
