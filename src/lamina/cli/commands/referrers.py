"""`lamina referrers`: what is attached to an image at its registry."""

from __future__ import annotations

from lamina.cli.options import TEXT, Command, Option, Positional
from lamina.cli.output import FORMAT, QUIET

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lamina.cli.context import Context
    from lamina.cli.options import Arguments


def _run(context: Context, arguments: Arguments) -> int:
    from lamina.api.transfers import referrers
    from lamina.cli.output import print_records
    from lamina.cli.text import size

    with context.progress() as on_event:
        found = referrers(arguments.positionals[0], artifact_type=arguments.text("type"), on_event=on_event)
    print_records(
        context,
        arguments,
        [
            {
                "Digest": entry.digest,
                "ArtifactType": entry.artifact_type,
                "MediaType": entry.media_type,
                "Size": entry.size,
                "Annotations": dict(entry.annotations),
            }
            for entry in found
        ],
        header=["DIGEST", "TYPE", "SIZE"],
        row=lambda record: [str(record["Digest"]), str(record["ArtifactType"]), size(int(str(record["Size"])))],
        name=lambda record: str(record["Digest"]),
    )
    return 0


COMMAND = Command(
    "referrers",
    "list what is attached to an image at its registry",
    _run,
    description=(
        "Signatures, bills of materials and whatever else `lamina attach`, cosign, oras and others attached to NAME."
        " Where the registry does not answer for such, the list that clients keep there under a tag is read."
        " `lamina copy docker://REPOSITORY@DIGEST oci:DIR` fetches one."
    ),
    options=(
        Option("type", "only artifacts of this type", kind=TEXT, value="TYPE"),
        FORMAT,
        QUIET,
    ),
    positionals=(Positional("NAME", "an image at a registry: REGISTRY/REPOSITORY:TAG or REGISTRY/REPOSITORY@DIGEST"),),
    examples=(
        ("lamina referrers registry.example/team/app:1", "everything that is attached"),
        ("lamina referrers -q --type application/spdx+json registry.example/team/app:1", "the digests of one kind"),
    ),
)
