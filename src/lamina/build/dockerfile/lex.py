"""Lines: from the bytes of a Dockerfile to its logical lines.

Decodes, takes off a byte order mark, reads the parser directives at the top, drops comments, joins continued lines and
hands out the lines of here-documents. What a line means is `parse`'s to know.

Limits: a line has at most 65,535 bytes, as with the reference implementation, and a file 16 MiB.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from lamina.build.dockerfile.blanks import BLANKS
from lamina.build.dockerfile.instructions import Directive
from lamina.build.dockerfile.source import START, DockerfileError, Position, Source, Span, Word

MAX_LINE = 65_535
MAX_SIZE = 16 << 20

_BOM = b"\xef\xbb\xbf"
_LINE = re.compile(rb"[^\n]*\n|[^\n]+")
_DIRECTIVE = re.compile(r"#\s*([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(.+?)\s*")


@dataclass(frozen=True, slots=True)
class LogicalLine:
    """An instruction's line, continuations joined: `word` is its text from the first character that is no blank.

    `comments` are those above it, up to the instruction before or an empty comment; `gaps` are the positions of empty
    lines within it, which a continuation should not have. `end` is where its last line ends.
    """

    word: Word
    end: Position
    comments: tuple[str, ...]
    gaps: tuple[Position, ...]


class Lexer:
    """The lines of one file, read once from top to bottom.

    `source`, `directives` and `escape` are there from the beginning. A text that is a part of a file has no directives:
    its `escape` is given. Raises DockerfileError: at once for a file or line
    that is too long, for binary content and for a wrong directive.
    """

    def __init__(self, data: bytes | str, name: str, escape: str | None = None) -> None:
        raw = _split(data, name)
        self._lines = [line.decode("utf-8", "surrogateescape") for line in raw]
        self.source = Source(name, tuple(line.rstrip("\r\n") for line in self._lines))
        self._refuse_binary()
        self._next = 0  # index of the line to be read
        self.directives = self._read_directives() if escape is None else ()
        self.escape = escape or next((found.value for found in self.directives if found.name == "escape"), "\\")
        self._continued = re.compile(rf"(?<!{re.escape(self.escape)}){re.escape(self.escape)}[ \t]*\Z")
        self._comments: list[str] = []

    def line(self) -> LogicalLine | None:
        """Return the next instruction's line, or None at the end of the file."""
        while self._next < len(self._lines):
            text, position = self._first()
            if text.startswith("#"):
                self._comment(text)
            elif text:
                return self._logical(text, position)
        return None

    def document(self, name: str, *, chomp: bool, opened: Position) -> tuple[str, Span]:
        """Return the lines up to one that is `name`, and where they are; with `chomp` tabs before it do not count.

        The next `line` begins after it. Raises DockerfileError at `opened` where there is no such line.
        """
        first = self._next
        for index in range(first, len(self._lines)):
            line = self.source.lines[index]
            if (line.lstrip("\t") if chomp else line) == name:
                self._next = index + 1
                span = Span(Position(first + 1, 1), Position(index + 1, len(line) + 1))
                return "".join(self._lines[first:index]), span
        raise DockerfileError(self.source, opened, f"the here-document is not closed: expected a line {name} after it")

    @property
    def last(self) -> Position:
        """Where the line that was read last ends."""
        return Position(self._next, len(self.source.line(self._next)) + 1)

    def _first(self) -> tuple[str, Position]:
        line = self.source.lines[self._next]
        text = line.lstrip(BLANKS)
        self._next += 1
        return text, Position(self._next, len(line) - len(text) + 1)

    def _comment(self, text: str) -> None:
        comment = text[1:].strip(BLANKS)
        if comment:
            self._comments.append(comment)
        else:
            self._comments.clear()  # an empty comment parts a remark from the description of what follows

    def _logical(self, text: str, position: Position) -> LogicalLine | None:
        parts: list[str] = []
        marks: list[tuple[int, Position]] = []
        gaps: list[Position] = []
        length = 0
        while True:
            continued = self._continued.search(text)
            part = text[: continued.start()] if continued else text
            if part:
                parts.append(part)
                marks.append((length, position))
                length += len(part)
            following = self._continuation(gaps) if continued else None
            if following is None:
                break
            text, position = following
        comments, self._comments = tuple(self._comments), []
        word = Word("".join(parts), tuple(marks) or ((0, position),))
        blanks = len(word.text) - len(word.text.lstrip(BLANKS))
        return LogicalLine(word.part(blanks, len(word.text)) if blanks else word, self.last, comments, tuple(gaps))

    def _continuation(self, gaps: list[Position]) -> tuple[str, Position] | None:
        while self._next < len(self._lines):
            text = self.source.lines[self._next]
            self._next += 1
            stripped = text.lstrip(BLANKS)
            if not stripped:
                gaps.append(Position(self._next, 1))
            elif not stripped.startswith("#"):
                return text, Position(self._next, 1)
        return None

    def _read_directives(self) -> tuple[Directive, ...]:
        known = ["syntax", "check", "escape"]
        if self.source.line(1).startswith("#!"):
            self._next = 1
            known.remove("escape")
        found: dict[str, Directive] = {}
        while self._next < len(self._lines):
            match = _DIRECTIVE.fullmatch(self.source.lines[self._next].lstrip(BLANKS))
            name = match.group(1).lower() if match else ""
            if match is None or name not in known:
                break
            position = self._first()[1]
            if name in found:
                reason = f"a second {name} directive; the first is in line {found[name].line}"
                raise DockerfileError(self.source, position, reason)
            value = match.group(2)
            if name == "escape" and value not in ("\\", "`"):
                reason = f"the escape character is {value!r}; expected \\ or `"
                raise DockerfileError(self.source, Position(position.line, position.column + match.start(2)), reason)
            found[name] = Directive(name, value, position.line)
        return tuple(found.values())

    def _refuse_binary(self) -> None:
        for number, line in enumerate(self.source.lines, 1):
            if (column := line.find("\0")) >= 0:
                reason = "a NUL character; a Dockerfile is text in UTF-8"
                raise DockerfileError(self.source, Position(number, column + 1), reason)


def _split(data: bytes | str, name: str) -> list[bytes]:
    empty = Source(name, ())
    if isinstance(data, str):
        try:
            data = data.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError as error:
            before = error.object[: error.start].split("\n")
            line, column = len(before), len(before[-1]) + 1
            raise DockerfileError(empty, Position(line, column), "a surrogate that stands for no byte") from error
    if len(data) > MAX_SIZE:
        raise DockerfileError(empty, START, f"{len(data)} bytes; a Dockerfile has at most {MAX_SIZE}")
    lines = _LINE.findall(data.removeprefix(_BOM))
    for number, line in enumerate(lines, 1):
        if len(line) > MAX_LINE:
            reason = f"a line of {len(line)} bytes; expected at most {MAX_LINE}"
            raise DockerfileError(empty, Position(number, 1), reason)
    return lines
