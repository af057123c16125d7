"""Where something stands in a Dockerfile: positions, spans, words that know their place, and the error that shows it.

Lines and columns count from 1, columns in characters. Positions take no part in comparisons: two files that say the
same are equal however they are laid out.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING

from lamina.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_LONGEST_NAME = 64  # nobody misspells longer ones, and comparing takes its time
_SHOWN = 160  # an excerpt is for a terminal: of a longer line the part around the position is shown


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A line and a column, both from 1."""

    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Span:
    """What lies from `start` up to `end`, the position after the last character."""

    start: Position
    end: Position


@dataclass(frozen=True, slots=True)
class Source:
    """A Dockerfile's text as lines without their ends; `name` is what messages call it ("Dockerfile", "-")."""

    name: str
    lines: tuple[str, ...]

    def line(self, number: int) -> str:
        """Return line `number`, counted from 1, or "" where there is none."""
        return self.lines[number - 1] if 0 < number <= len(self.lines) else ""


#: For instructions that stand in no file: those made by a program.
NOWHERE = Source("", ())
START = Position(1, 1)


@dataclass(frozen=True, slots=True)
class Word:
    """A piece of an instruction as it is written, quotes and variables included, or after their expansion.

    `marks` says where it stands: pairs of an offset in `text` and the position of that character, the first with offset
    0; a word that goes on in a further line has one for each line.
    """

    text: str
    marks: tuple[tuple[int, Position], ...] = field(default=((0, START),), compare=False, repr=False)

    def __str__(self) -> str:
        return self.text

    @property
    def start(self) -> Position:
        """Where the word begins."""
        return self.marks[0][1]

    def position(self, offset: int) -> Position:
        """Return where the character at `offset` of the written text stands."""
        base, position = self.marks[max(0, bisect_right(self.marks, offset, key=_offset) - 1)]
        return Position(position.line, position.column + offset - base)

    def part(self, start: int, end: int) -> Word:
        """Return the characters from `start` up to `end` as a word of their own."""
        first, last = bisect_right(self.marks, start, key=_offset), bisect_left(self.marks, end, key=_offset)
        inner = ((mark - start, there) for mark, there in self.marks[first:last])
        return Word(self.text[start:end], ((0, self.position(start)), *inner))

    def picked(self, offsets: Sequence[int]) -> Word:
        """Return the characters at `offsets`, which ascend, as a word in which each keeps its place."""
        marks = [
            (at, self.position(offset))
            for at, offset in enumerate(offsets)
            if at == 0 or offset != offsets[at - 1] + 1 or self.position(offset).column == 1
        ]
        return Word("".join(self.text[offset] for offset in offsets), tuple(marks) or self.marks[:1])

    def replaced(self, text: str) -> Word:
        """Return `text` standing where this word stands."""
        return Word(text, self.marks[:1])


def _offset(mark: tuple[int, Position]) -> int:
    return mark[0]


class DockerfileError(InvalidInput):
    """A Dockerfile is not what it should be, at a place.

    `file`, `line` and `column` name the place; `reason` says what is wrong and what was expected; `hint` holds a
    did-you-mean or a remedy. `excerpt` is the line with a caret below it.
    """

    def __init__(self, source: Source, position: Position, reason: str, hint: str = "") -> None:
        self.source = source
        self.position = position
        self.file = source.name
        self.line = position.line
        self.column = position.column
        super().__init__("read", f"{source.name}:{position}" if source.name else "the instruction", reason, hint)

    @property
    def excerpt(self) -> str:
        """Two lines for a terminal: the source line with its number, and a caret; "" where there is no source."""
        return excerpt(self.source, self.position)


def excerpt(source: Source, position: Position) -> str:
    """Return the line of `position` with its number, and a caret below the column; "" where there is no such line."""
    if not 0 < position.line <= len(source.lines):
        return ""
    text = source.line(position.line)
    first = max(0, position.column - 1 - _SHOWN // 2) if len(text) > _SHOWN else 0
    shown = "".join(c if c.isprintable() else " " if c == "\t" else "?" for c in text[first : first + _SHOWN])
    number = f"{position.line:>4} | "
    blanks = " " * (len(number) - 2) + "| " + " " * (position.column - 1 - first)
    return f"{number}{shown}\n{blanks}^"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a hint that names the nearest of `known`, or ""."""
    if len(word) > _LONGEST_NAME:
        return ""
    by_lower = {name.lower(): name for name in known}
    near = get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    return f"did you mean {by_lower[near[0]]}?" if near else ""
