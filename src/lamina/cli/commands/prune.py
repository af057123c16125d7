"""`lamina prune`: remove what nothing refers to."""

from __future__ import annotations

from lamina.cli.options import LIST, TEXT, Command, Option, usage_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lamina.cli.context import Context
    from lamina.cli.options import Arguments


def _run(context: Context, arguments: Arguments) -> int:
    from lamina.cli.output import confirm
    from lamina.cli.text import size
    from lamina.cli.transferring import read_size
    from lamina.errors import LaminaError
    from lamina.store.collect import KINDS

    kinds = [word for text in arguments.texts("kind") for word in text.split(",")]
    if unknown := [word for word in kinds if word not in KINDS]:
        raise usage_error(COMMAND, f"there is no kind {unknown[0]!r}", f"the kinds are {', '.join(KINDS)}")
    before = _before(arguments)
    keep = read_size(COMMAND, arguments, "keep-storage")
    if not arguments.flag("force") and not confirm(context, _question(arguments, kinds)):
        raise LaminaError("prune", "", "nobody said yes", "--force does it without asking")
    collected = context.store().prune(images=arguments.flag("all"), kinds=kinds or None, before=before, keep=keep)
    for name in (*collected.containers, *collected.images):
        context.print(name)
    context.print(f"freed {size(collected.size)}")
    return 0


def _before(arguments: Arguments) -> int | None:
    """Return the moment that --older-than or --filter until= names, in nanoseconds since the epoch."""
    import time

    texts = [arguments.text("older-than")] if arguments.given("older-than") else []
    for text in arguments.texts("filter"):
        key, _, value = text.partition("=")
        if key != "until":
            raise usage_error(COMMAND, f"the filter {text!r} is not known", "until=DURATION is, or until=TIMESTAMP")
        texts.append(value)
    return min((_moment(text, time.time_ns()) for text in texts), default=None)


def _moment(text: str, now: int) -> int:
    from lamina.build.dockerfile.durations import parse_duration
    from lamina.errors import InvalidInput
    from lamina.oci.timestamp import parse_time

    days = {"d": 1, "w": 7}.get(text[-1:], 0)
    if days and text[:-1].isascii() and text[:-1].isdigit():
        return now - int(text[:-1]) * days * 86_400 * 10**9
    duration = parse_duration(text)
    if duration is not None and duration >= 0:
        return now - duration
    try:
        return parse_time(text)
    except InvalidInput as error:
        reason = f"{text!r} is no duration (7d, 12h) and no time (2026-01-31T12:00:00Z)"
        raise usage_error(COMMAND, reason) from error


def _question(arguments: Arguments, kinds: list[str]) -> str:
    if kinds:
        return f"Remove {', '.join(kinds)} that nothing needs?"
    if arguments.flag("all"):
        return "Remove all images that no container is made of, what only they need, and what crashes left?"
    return "Remove the layers that no image or container has, images without a name, and what crashes left?"


COMMAND = Command(
    "prune",
    "remove what nothing refers to",
    _run,
    description=(
        "Removes images that have no name and no container, layers and blobs that no image and no container has, and"
        " what a crash left half made. Asks first on a terminal; elsewhere it needs --force.\n\n"
        "The kinds are containers (that do not run), images, layers, blobs, cache (what builds keep: which step made"
        " what, and the directories of cache mounts) and leftovers (of crashes); with --kind only what is named goes,"
        " and what nothing else needed. An age counts from when something came to this store, not from when an image"
        " was made elsewhere."
    ),
    options=(
        Option("all", "also images that have a name, if no container is made of them", short="a"),
        Option("kind", "only this kind; may be given several times", kind=LIST, value="KIND"),
        Option("older-than", "only what came to the store longer ago", kind=TEXT, value="DURATION"),
        Option("filter", "until=DURATION or until=TIMESTAMP, docker's words for the same", kind=LIST, value="FILTER"),
        Option(
            "keep-storage",
            "remove the oldest first, and no more than until the store takes SIZE (k, M, G) of the disk",
            kind=TEXT,
            value="SIZE",
        ),
        Option("force", "do not ask", short="f"),
    ),
    examples=(
        ("lamina prune --force", "from a script"),
        ("lamina prune --all --older-than 7d", "images that nobody uses, and that came a week ago or earlier"),
        ("lamina prune --force --all --kind cache --kind images --keep-storage 20G", "a build machine, every night"),
    ),
)
