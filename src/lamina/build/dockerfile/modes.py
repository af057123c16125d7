"""File modes as --chmod takes them: octal, or symbolic as chmod(1) has it (`u=rwX,go-w`, `g=u`).

A missing class means all of them, whatever the umask is. `X` looks at the mode before any change.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

_ALL = 0o6777
_STICKY = 0o1000
_CLASSES = {"a": 0o6777, "u": 0o4700, "g": 0o2070, "o": 0o0007}
_BITS = {"r": 0o444, "w": 0o222, "x": 0o111}
_SHIFTS = {"u": 6, "g": 3, "o": 0}


@dataclass(frozen=True, slots=True)
class _Change:
    """`+`, `-` or `=` of `bits` within the classes `who` (0: all), of the bits of class `copied`, or of X."""

    operator: str
    who: int
    bits: int
    copied: str = ""
    if_executable: bool = False


@dataclass(frozen=True, slots=True)
class Mode:
    """A mode to be given to files: absolute, or changes to what they have."""

    absolute: int | None
    changes: tuple[_Change, ...] = ()

    def apply(self, mode: int, *, is_directory: bool) -> int:
        """Return the permission bits (07777) that a file of `mode` gets."""
        if self.absolute is not None:
            return self.absolute
        mode &= 0o7777
        executable = is_directory or bool(mode & 0o111)
        for change in self.changes:
            mode = _changed(mode, change, executable)
        return mode


def _changed(mode: int, change: _Change, executable: bool) -> int:
    bits = change.bits
    clears = change.who or _ALL
    if change.if_executable:
        return mode | bits if executable else mode
    if change.copied:
        value = mode >> _SHIFTS[change.copied] & 0o7
        bits = value * 0o111 & (change.who or 0o777) & 0o777
        clears = (change.who or 0o777) & 0o777
    if change.operator == "+":
        return mode | bits
    if change.operator == "-":
        return mode & ~bits
    return mode & ~clears | bits


_Parsed: TypeAlias = tuple[list[_Change], int]


def parse_mode(text: str) -> Mode | None:
    """Return the mode that `text` means, or None for what is none."""
    if text[:1].isdecimal():
        octal = text.isascii() and len(text) < 20 and all(c in "01234567" for c in text)
        return Mode(int(text, 8)) if octal and int(text, 8) <= 0o7777 else None
    changes: list[_Change] = []
    for clause in text.split(","):
        parsed = _clause(clause)
        if parsed is None:
            return None
        changes += parsed
    return Mode(None, tuple(changes))


def _clause(clause: str) -> list[_Change] | None:
    at = 0
    who = 0
    while clause[at : at + 1] in _CLASSES:
        who |= _CLASSES[clause[at]]
        at += 1
    if at == len(clause):
        return None
    changes: list[_Change] = []
    while at < len(clause):
        if clause[at] not in "+-=":
            return None
        made, at = _action(clause, at, who)
        changes += made
    return changes


def _action(clause: str, at: int, who: int) -> _Parsed:
    """Read an operator and the letters after it, of which there may be none."""
    operator = clause[at]
    at += 1
    pending = _Pending(operator, who)
    while at < len(clause) and pending.take(clause[at]):
        at += 1
    return pending.finish(), at


class _Pending:
    """The letters after one operator. A class to be copied ends the letters before it, as in BSD's chmod."""

    def __init__(self, operator: str, who: int) -> None:
        self._operator = operator
        self._who = who
        self._bits = 0
        self._executable = 0
        self._changes: list[_Change] = []

    def take(self, letter: str) -> bool:
        """Take a letter, or tell that it is none."""
        everyone_or_owner = not self._who or bool(self._who & ~0o7)  # set-id and sticky mean nothing for others
        if letter in _SHIFTS:
            self._flush()
            self._changes.append(_Change(self._operator, self._who, 0, copied=letter))
        elif letter in _BITS:
            self._bits |= _BITS[letter]
        elif letter == "X" and self._operator != "-":
            self._executable = 0o111
        elif letter == "X":
            self._bits |= 0o111
        elif letter == "s":
            self._bits |= 0o6000 if everyone_or_owner else 0
        elif letter == "t":
            self._sticky(everyone_or_owner)
        else:
            return False
        return True

    def _sticky(self, meant: bool) -> None:
        # In BSD's chmod, and so in BuildKit's, `t` names a class: without others, the letters beside it do nothing.
        if meant:
            self._who |= _STICKY
            self._bits |= _STICKY

    def finish(self) -> list[_Change]:
        """Return the changes; `=` without letters clears."""
        if self._operator == "=" and not self._changes and not self._bits:
            self._changes.append(_Change("=", self._who, 0))
        self._flush()
        return self._changes

    def _flush(self) -> None:
        mask = self._who or _ALL
        if self._bits:
            self._changes.append(_Change(self._operator, mask, self._bits & mask))
        if self._executable:
            self._changes.append(_Change("+", mask, self._executable & mask, if_executable=True))
        self._bits = self._executable = 0
