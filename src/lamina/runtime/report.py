"""What the processes of a start tell their caller: messages over a pipe that execve(2) closes.

A message is a tuple of a word and plain values, in marshal's form: our own child writes it, before anything of the
image runs, and `json` would cost start-up time. The end of the pipe after "ready" says that the command was executed.
"""

from __future__ import annotations

import marshal
import os

from lamina.errors import Conflict, InvalidInput, LaminaError, NotFound, Unsupported, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO, NoReturn


def tell(fd: int, *message: object) -> None:
    """Write one message."""
    os.write(fd, marshal.dumps(message))  # type: ignore[arg-type]  # numbers, texts, lists and dicts of them


def tell_error(fd: int, error: BaseException) -> None:
    """Write an exception as a message, for `raise_from`."""
    if isinstance(error, LaminaError):
        fields = (error.doing, error.subject, error.reason, error.hint)
        tell(fd, "error", type(error).__name__, error.status, *fields)
    elif isinstance(error, OSError):
        name = os.fsdecode(error.filename) if isinstance(error.filename, bytes | str) else ""
        tell(fd, "error", "OSError", error.errno or 0, error.strerror or str(error), name)
    else:
        import traceback

        tell(fd, "error", "RuntimeError", 0, "".join(traceback.format_exception(error)))


def next_message(report: BinaryIO) -> tuple[object, ...]:
    """Return the next message, or nothing at the end of the pipe."""
    try:
        message: tuple[object, ...] = marshal.load(report)
    except EOFError:
        return ()
    return message


def expect(report: BinaryIO, *words: str) -> tuple[object, ...]:
    """Return the next message, which must begin with one of `words`; an error that was told is raised."""
    message = next_message(report)
    if not message:
        raise LaminaError("start the container", "", "its first process ended without a word")
    if message[0] not in words:
        raise_from(message)
    return message


def raise_from(message: tuple[object, ...]) -> NoReturn:
    """Raise the error that a child told."""
    _, kind, number, *fields = message
    if kind == "OSError":
        text, name = fields
        raise OSError(number, text, name or None)
    if kind == "RuntimeError":
        raise RuntimeError(fields[0])
    kinds = (LaminaError, Conflict, InvalidInput, NotFound, Unsupported, UsageError)
    found = next((each for each in kinds if each.__name__ == kind), LaminaError)
    error = found(*fields)  # type: ignore[arg-type]  # the four texts
    error.status = int(str(number))
    raise error
