"""`lamina store`: what the store takes of the disk, and whether it is whole."""

from __future__ import annotations

from lamina.cli.options import Command, Option, Positional, usage_error
from lamina.cli.output import FORMAT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lamina.cli.context import Context
    from lamina.cli.options import Arguments
    from lamina.store.usage import Usage


def _run(context: Context, arguments: Arguments) -> int:
    actions = {"du": _du, "check": _check}
    name = arguments.positionals[0]
    if name not in actions:
        raise usage_error(COMMAND, f"unknown action {name!r}", "lamina store du, lamina store check")
    return actions[name](context, arguments)


def _du(context: Context, arguments: Arguments) -> int:
    from lamina.cli.output import print_json

    usage = context.store().usage()
    if arguments.text("format") == "json":
        print_json(context, _as_json(usage))
        return 0
    from lamina.cli.text import columns, size

    rows = [[kind.name, str(kind.count), size(kind.size), size(kind.reclaimable)] for kind in usage.kinds]
    for line in columns(["KIND", "COUNT", "SIZE", "RECLAIMABLE"], rows):
        context.print(line)
    context.print(f"{size(usage.size)} in all")
    if usage.images:
        context.print()
        images = [
            [", ".join(image.names) or "<none>", image.id[7:19], size(image.size), size(image.unique)]
            for image in usage.images
        ]
        for line in columns(["IMAGE", "IMAGE ID", "SIZE", "UNIQUE"], images):
            context.print(line)
    return 0


def _as_json(usage: Usage) -> dict[str, object]:
    return {
        "Size": usage.size,
        "Kinds": [
            {"Kind": kind.name, "Count": kind.count, "Size": kind.size, "Reclaimable": kind.reclaimable}
            for kind in usage.kinds
        ],
        "Images": [
            {
                "Id": image.id,
                "Digest": image.manifest,
                "Names": list(image.names),
                "Size": image.size,
                "Unique": image.unique,
            }
            for image in usage.images
        ],
    }


def _check(context: Context, arguments: Arguments) -> int:
    from lamina.errors import StoreError

    store = context.store()
    with context.progress() as on_event:
        problems = store.check(repair=arguments.flag("repair"), on_event=on_event)
    for problem in problems:
        context.print(f"{problem.thing}: {problem.reason}{' (mended)' if problem.mended else ''}")
    left = [problem for problem in problems if not problem.mended]
    if left:
        hint = "" if arguments.flag("repair") else "lamina store check --repair mends what can be mended"
        raise StoreError("find the store whole at", store.root, f"{len(left)} things are wrong", hint)
    return 0


COMMAND = Command(
    "store",
    "what the store takes of the disk (du), and whether it is whole (check)",
    _run,
    description=(
        "`du` shows what layers, blobs and containers take on disk, what of that nothing needs (lamina prune removes"
        " it), and for each image what no other image has, which removing it would free.\n\n"
        "`check` reads everything: each blob has its digest, each layer's files make its tar, and all that images,"
        " references and containers name is there. It prints what is wrong, one a line, and then ends with status 125."
        " --repair makes records, references and the index anew, and takes away damaged blobs and layers: pulling or"
        " loading their images again brings those alone."
    ),
    options=(FORMAT, Option("repair", "for check: mend what can be mended")),
    positionals=(Positional("du|check", "what to do"),),
    examples=(
        ("lamina store du", "how much, of what"),
        ("lamina store check", "after a crash, or when in doubt about a disk"),
    ),
)
