"""`lamina doctor`: what works on this machine, what does not, why, and what would mend it."""

from __future__ import annotations

from lamina.cli.options import Command
from lamina.cli.output import FORMAT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lamina.cli.context import Context
    from lamina.cli.options import Arguments
    from lamina.doctor.diagnose import Diagnosis, Unreadable
    from lamina.doctor.values import Check

CANNOT_RUN = 1
_WORDS = {"works": "works", "fails": "no", "unknown": "unknown"}


def _run(context: Context, arguments: Arguments) -> int:
    from lamina.api.diagnosing import diagnose
    from lamina.ids.worker import Here

    found = diagnose(context.root, worker=Here)
    family = _family()
    if arguments.text("format") == "json":
        from lamina.cli.output import print_json

        print_json(context, _as_json(found, family))
    else:
        _print(context, found, family)
    return 0 if found.can_run else CANNOT_RUN


def _family() -> str:
    """Return the family of this machine's distribution, after os-release(5); "debian" for those that are in none."""
    from platform import freedesktop_os_release

    from lamina.doctor.values import FAMILIES

    try:
        told = freedesktop_os_release()
    except OSError:
        return FAMILIES[0]
    like = [told.get("ID", ""), *told.get("ID_LIKE", "").split()]
    return next((name for name in like if name in FAMILIES), FAMILIES[0])


def _print(context: Context, found: Diagnosis, family: str) -> None:
    from lamina.cli.text import columns

    rows = [[check.name, _WORDS[check.state], check.purpose, check.text] for check in found.checks]
    for line in columns(["WHAT", "STATE", "FOR", "HOW OR WHY NOT"], rows):
        context.print(line)
    _print_remedies(context, found.checks, family)
    _print_unreadable(context, found.unreadable)
    context.print()
    if found.can_run:
        context.print("lamina run works.")
    else:
        lacking = [check.name for check in found.checks if check.needed and check.state != "works"]
        context.print(f"lamina run cannot work: {', '.join(lacking) or 'no driver works'}.")


def _print_remedies(context: Context, checks: tuple[Check, ...], family: str) -> None:
    commands: dict[str, list[str]] = {}
    for check in checks:
        if command := check.remedy.of(family):
            commands.setdefault(command, []).append(check.name)
    if commands:
        context.print()
        context.print("What mends it, as root:")
        for command, names in commands.items():
            context.print(f"    {command}    # {', '.join(names)}")


def _print_unreadable(context: Context, unreadable: Unreadable) -> None:
    from lamina.errors import one_line

    if not unreadable.names:
        return
    context.print()
    context.print("Names of this machine that you cannot read; over `host` they are listed, and closed:")
    for name in unreadable.names:
        context.print(f"    {one_line(name)}")
    if not unreadable.complete:
        context.print(f"    and at least {unreadable.more} more: not everything was looked at")
    elif unreadable.more:
        context.print(f"    and {unreadable.more} more")


def _as_json(found: Diagnosis, family: str) -> dict[str, object]:
    return {
        "CanRun": found.can_run,
        "Family": family,
        "Checks": [
            {
                "Name": check.name,
                "State": check.state,
                "Needed": check.needed,
                "For": check.purpose,
                "Text": check.text,
                "Remedy": {
                    "debian": check.remedy.debian,
                    "fedora": check.remedy.fedora,
                    "arch": check.remedy.arch,
                },
            }
            for check in found.checks
        ],
        "Unreadable": {
            "Names": list(found.unreadable.names),
            "More": found.unreadable.more,
            "Complete": found.unreadable.complete,
        },
    }


COMMAND = Command(
    "doctor",
    "what works on this machine, what does not, why, and what mends it",
    _run,
    description=(
        "Tries everything that lamina needs by doing it: makes each kind of namespace, maps ids, mounts a stack with"
        " each driver and deletes in it, makes the marks of layers on the store's file system, installs a filter. Each"
        " trial is a process of its own with a time limit, and nothing stays.\n\n"
        "Ends with status 1 where `lamina run` cannot work. What is not needed for it says what it is for."
    ),
    options=(FORMAT,),
    examples=(
        ("lamina doctor", "when something does not work, or before it"),
        ("lamina doctor --format json", "the same for programs, with the remedies for each family of systems"),
    ),
)
