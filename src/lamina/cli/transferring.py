"""What the commands that move images have in common."""

from __future__ import annotations

from lamina.cli.options import CHOICE, TEXT, Option, usage_error
from lamina.errors import LaminaError, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO

    from lamina.api import Image, Store
    from lamina.cli.context import Context
    from lamina.cli.options import Arguments, Command

PLATFORM = Option(
    "platform",
    "of an image for several platforms, take this one (default: this machine's)",
    kind=TEXT,
    value="OS/ARCH[/VARIANT]",
)

ALL_PLATFORMS = Option("all-platforms", "take all that an index lists, and the index itself")

ONE_PLATFORM = Option(
    "platform",
    "of an index, only the image for this platform (default: all of it)",
    kind=TEXT,
    value="OS/ARCH[/VARIANT]",
)

PROGRESS = Option(
    "progress",
    "how to show progress: bars on a terminal and lines elsewhere, lines, or JSON (default: auto)",
    kind=CHOICE,
    choices=("auto", "plain", "rawjson"),
)

MAX_UNPACKED_SIZE = Option(
    "max-unpacked-size",
    "refuse an image whose layers have more than SIZE bytes (k, M, G) unpacked",
    kind=TEXT,
    value="SIZE",
)

_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def read_size(command: Command, arguments: Arguments, name: str) -> int | None:
    """Return the bytes that --`name` says, with binary units as docker has them, or None where it is not given."""
    if not arguments.given(name):
        return None
    text = arguments.text(name).lower().removesuffix("b").removesuffix("i")
    digits = text.rstrip("kmgt")
    if not (digits.isascii() and digits.isdigit() and text[len(digits) :] in _UNITS):
        raise usage_error(command, f"--{name} is a number with k, M, G or T, not {arguments.text(name)!r}")
    return int(digits) * _UNITS[text[len(digits) :]]


def compression_option(default: str) -> Option:
    """Return the option that says what becomes of layers without a blob."""
    return Option(
        "compression",
        f"how to compress layers that did not come compressed: none, gzip or zstd (default: {default})",
        kind=TEXT,
        value="NAME[:LEVEL]",
    )


def pull_for_run(context: Context, store: Store, name: str, *, platform: str, quiet: bool) -> Image:
    """Pull what is to be run; an error says that the store does not have it either."""
    from lamina.events import ignore

    try:
        with context.progress() as on_event:
            return store.pull(name, platform=platform, on_event=ignore if quiet else on_event)
    except LaminaError as error:
        kind = NotFound if isinstance(error, NotFound) else LaminaError
        reason = error.reason if error.doing == "pull" else f"cannot {error.doing} {error.subject}: {error.reason}"
        hint = error.hint or "lamina images lists what the store has"
        raise kind("pull", name, f"the store does not have it, and {reason}", hint) from error
    finally:
        store.close()  # the helper has done its work, and the container's processes are the only ones to wait for


def binary_output(context: Context) -> BinaryIO:
    """Return standard output for bytes; a terminal is no place for them."""
    if context.out.isatty():
        raise LaminaError("write to", "the terminal", "it is no place for an archive", "-o FILE, or a pipe")
    return context.out.buffer
