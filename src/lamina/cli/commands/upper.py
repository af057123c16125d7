"""`lamina upper`: look after the upper of a stopped mount."""

from __future__ import annotations

from lamina.cli.options import Command, Option, Positional, usage_error
from lamina.cli.output import FORMAT, print_json
from lamina.cli.overlaying import DIRECTORIES, read_overlay

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lamina.cli.context import Context
    from lamina.cli.options import Arguments
    from lamina.ids.worker import Here
    from lamina.overlay.stack import Overlay

_ACTIONS = ("check", "vacuum", "merge", "flatten")


def _run(context: Context, arguments: Arguments) -> int:
    import os

    from lamina.ids.map import choose
    from lamina.ids.worker import Here

    action = arguments.positionals[0]
    if action not in _ACTIONS:
        raise usage_error(COMMAND, f"unknown action {action!r}", "check, vacuum, merge or flatten")
    if action != "check" and (arguments.given("repair") or arguments.given("format")):
        raise usage_error(COMMAND, "--repair and --format go with check")
    if action == "check" and arguments.flag("dry-run") and not arguments.flag("repair"):
        raise usage_error(COMMAND, "check changes nothing without --repair")
    ids = choose(os.geteuid(), os.getegid())
    overlay = read_overlay(COMMAND, arguments, ids)
    if not overlay.upper:
        raise usage_error(COMMAND, "no upper directory is named", "--upper DIR --work DIR, or -o upperdir=…,workdir=…")
    context.detail(f"ids: {ids.describe()}")
    worker = Here(ids)
    if action == "check":
        return _check(context, arguments, worker, overlay)
    _change(context, worker, action, overlay, dry_run=arguments.flag("dry-run"))
    return 0


def _check(context: Context, arguments: Arguments, worker: Here, overlay: Overlay) -> int:
    from lamina.errors import one_line
    from lamina.overlay.upper.jobs import check_upper

    repair, dry_run = arguments.flag("repair"), arguments.flag("dry-run")
    found = worker.call(check_upper, overlay=overlay.plain(), repair=repair and not dry_run)
    if arguments.text("format") == "json":
        names = {"path": "Path", "work": "Work", "kind": "Kind", "text": "Text", "repair": "Repair", "mended": "Mended"}
        print_json(context, [{names[name]: value for name, value in finding.items()} for finding in found])
    else:
        for finding in found:
            place = f"{'work/' if finding['work'] else ''}{finding['path'] or '.'}"
            context.print(one_line(f"{place}: {finding['text']}{' (mended)' if finding['mended'] else ''}"))
            steps = finding["repair"]
            if dry_run and isinstance(steps, list):
                for step in steps or ["this cannot be mended here"]:
                    context.print(one_line(f"    {step}"))
    return 1 if any(not finding["mended"] for finding in found) else 0


def _change(context: Context, worker: Here, action: str, overlay: Overlay, *, dry_run: bool) -> None:
    from lamina.errors import one_line
    from lamina.overlay.upper import jobs

    if action == "merge":
        _refuse_layer_of_store(overlay.layers[-1])
    job = {"vacuum": jobs.vacuum_upper, "merge": jobs.merge_upper, "flatten": jobs.flatten_upper}[action]
    for step in worker.call(job, overlay=overlay.plain(), dry_run=dry_run):
        if dry_run:
            context.print(one_line(step))
        else:
            context.detail(step)


def _refuse_layer_of_store(layer: str) -> None:
    """Raise Conflict for a layer that has a name by what it holds, and so may not change."""
    import os

    from lamina.errors import Conflict

    above, name = os.path.split(os.path.realpath(layer))
    if name == "tree" and os.path.exists(os.path.join(above, "framing")):
        raise Conflict(
            "merge into", layer, "it is a layer of a store, and never changes", "lamina commit makes a new one"
        )


COMMAND = Command(
    "upper",
    "look after the upper directory of a stopped mount",
    _run,
    description=(
        "ACTION is one of:\n\n"
        "check: find what no driver would have left there: marks that the layers do not explain or that contradict"
        " each other, redirects to nowhere, leftovers in the work directory. The exit status is 1 when something is"
        " found and not mended; --repair mends.\n\n"
        "vacuum: drop what equals the layers below.\n\n"
        "merge: fold the upper into the topmost layer, and leave it empty. An interrupted merge is finished by the next"
        " one; until then the upper cannot be mounted.\n\n"
        "flatten: make the upper independent of redirects and metacopies, so that every kernel mount can show it.\n\n"
        "The mount must be stopped. Uppers of the kernel's driver and of our own are the same to it."
    ),
    options=(
        *DIRECTORIES,
        Option("dry-run", "say what would be done, and do nothing", short="n"),
        Option("repair", "with check: mend what can be mended"),
        FORMAT,
    ),
    positionals=(Positional("ACTION", "check, vacuum, merge or flatten"),),
    examples=(
        ("lamina upper check --layer base --upper up --work work", "exit status 0 where nothing is wrong"),
        ("lamina upper merge --dry-run -o lowerdir=base,upperdir=up,workdir=work", "what a merge would change in base"),
    ),
)
