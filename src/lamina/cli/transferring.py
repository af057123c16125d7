"""What the commands that move images have in common."""

from __future__ import annotations

from lamina.cli.options import TEXT, Option
from lamina.errors import LaminaError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO

    from lamina.cli.context import Context

PLATFORM = Option(
    "platform",
    "of an image for several platforms, take this one (default: this machine's)",
    kind=TEXT,
    value="OS/ARCH[/VARIANT]",
)


def binary_output(context: Context) -> BinaryIO:
    """Return standard output for bytes; a terminal is no place for them."""
    if context.out.isatty():
        raise LaminaError("write to", "the terminal", "it is no place for an archive", "-o FILE, or a pipe")
    return context.out.buffer
