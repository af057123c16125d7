"""The errors that lamina raises on purpose.

An error says what was being done, to what, and what happened; what the reader can do about it stands in `hint`.
Failures of system calls stay `OSError` with their true errno, unless more is known than the errno says.
"""

from __future__ import annotations


class LaminaError(Exception):
    """Something that was asked for could not be done.

    `doing` is a verb with its object ("mount the overlay on"), `subject` the thing's own name ("/mnt"), `reason` what
    happened ("no such directory"), `hint` what would help (a command, mostly), or nothing. The text is one line:
    "cannot DOING SUBJECT: REASON".
    """

    #: Exit status of the command line for this error.
    status = 125

    def __init__(self, doing: str, subject: object, reason: object, hint: str = "") -> None:
        self.doing = doing
        self.subject = shown(subject)
        self.reason = shown(reason)
        self.hint = hint
        super().__init__(doing, self.subject, self.reason, hint)

    def __str__(self) -> str:
        words = f"cannot {self.doing} {self.subject}".rstrip()
        return one_line(f"{words}: {self.reason}")


class UsageError(LaminaError):
    """The command or call itself is malformed: exit status 2."""

    status = 2

    def __str__(self) -> str:
        return one_line(f"{self.subject}: {self.reason}" if self.subject else self.reason)


class InvalidInput(LaminaError):
    """A document, archive, name or tree from outside is not what it should be."""


class NotFound(LaminaError):
    """An image, container, layer, program or file that was named does not exist."""


class Conflict(LaminaError):
    """The name is taken, or the thing is in use."""


class Unsupported(LaminaError):
    """This host (its kernel, its settings, a missing program) cannot do it."""


class StoreError(LaminaError):
    """The store is damaged, newer than this program, or made for another id map."""


def shown(value: object) -> str:
    """Return `value` as text for a person: bytes decoded, an OSError as its reason alone."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, OSError) and value.strerror:
        return value.strerror
    return str(value)


def one_line(text: str) -> str:
    """Return `text` with control characters escaped, so that a hostile name cannot drive a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def last_line(text: str) -> str:
    """Return the last line that is not empty: of a traceback, the error itself."""
    return text.strip().rpartition("\n")[2]
