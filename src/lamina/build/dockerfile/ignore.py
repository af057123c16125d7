""".dockerignore, and the patterns of --exclude: which files of a tree are left out.

A pattern is matched against whole paths below the root: `*` and `?` do not match a slash, `[a-z]` and `[^a-z]` are
classes, a backslash makes the next character literal, `**` matches any number of directories. Slashes at the ends, `.`
and `..` are cleaned away. A directory that matches takes all below it along. `!` makes an exception; of all patterns
that match, the last one counts.

Paths are `str` as os.fsdecode makes them, relative, without `.` and `..`.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, NoReturn

from lamina.build.dockerfile.blanks import BLANKS
from lamina.build.dockerfile.positions import DIRECTORIES, NAME, REST, is_costly, path_matcher
from lamina.build.dockerfile.source import START, DockerfileError, Position, Source
from lamina.errors import InvalidInput

_BOM = "\ufeff"
_GLOB: Final = frozenset("*[]?^\\")


@dataclass(frozen=True, slots=True)
class Pattern:
    """One line: `text` cleaned and without its `!`, which is `exception`; `position` where it stood."""

    text: str
    exception: bool = False
    position: Position = START


#: What the patterns said about a directory: for each whether it matched; () for the root.
Matched = tuple[bool, ...]


def ignore_files(dockerfile: str) -> tuple[str, str]:
    """Return the names under which the patterns for a Dockerfile are looked for; the first that exists counts alone.

    The first stands beside the Dockerfile, the second at the root of the context.
    """
    return f"{dockerfile}.dockerignore", ".dockerignore"


def parse_ignore(data: bytes | str, name: str = ".dockerignore") -> IgnoreMatcher:
    """Return the matcher of a .dockerignore file. Raises DockerfileError at a pattern that is none."""
    text = data.decode("utf-8", "surrogateescape") if isinstance(data, bytes) else data
    lines = [line.removesuffix("\r") for line in text.removeprefix(_BOM).split("\n")]
    source = Source(name, tuple(lines))
    patterns = []
    for number, line in enumerate(lines, 1):
        if line.startswith("#") or not line.strip(BLANKS):
            continue
        column = len(line) - len(line.lstrip(BLANKS)) + 1
        patterns.append(_pattern(line.strip(BLANKS), source, Position(number, column), rooted=True))
    return IgnoreMatcher(patterns, source)


def exclude_matcher(patterns: Iterable[str]) -> IgnoreMatcher:
    """Return the matcher of --exclude's patterns, which are those of a file but for a slash at their beginning."""
    texts = tuple(patterns)
    source = Source("--exclude", texts)
    numbered = [(number, text.strip(BLANKS)) for number, text in enumerate(texts, 1)]
    return IgnoreMatcher(
        [_pattern(text, source, Position(number, 1), rooted=False) for number, text in numbered if text], source
    )


def _pattern(text: str, source: Source, position: Position, *, rooted: bool) -> Pattern:
    exception = text.startswith("!")
    text = text[1:].strip(BLANKS) if exception else text
    if not text:
        raise DockerfileError(source, position, "! alone: expected a pattern after it")
    cleaned = _cleaned(text)
    if rooted and len(cleaned) > 1:
        cleaned = cleaned.removeprefix("/")
    return Pattern(cleaned, exception, position)


def _cleaned(text: str) -> str:
    cleaned = posixpath.normpath(text)
    return cleaned[1:] if cleaned.startswith("//") else cleaned


class IgnoreMatcher:
    """Tells which paths are left out.

    A walk from the top asks `enter` for each directory and `ignores` for what is in it, with what `enter` gave: this
    decides as BuildKit does while it reads a context. `matches` judges one path alone.
    """

    def __init__(self, patterns: Iterable[Pattern], source: Source) -> None:
        self.patterns = tuple(patterns)
        self.has_exceptions = any(pattern.exception for pattern in self.patterns)
        parts = [_Translator(pattern.text, pattern.position, source).parts() for pattern in self.patterns]
        self._patterns = [
            (path_matcher(each), pattern.exception) for each, pattern in zip(parts, self.patterns, strict=True)
        ]
        # Without exceptions a path is left out if any pattern matches it or a directory above: one search says so.
        regexes = [f"(?:{''.join(each)})" for each in parts if not is_costly(each)]
        self._any = re.compile("|".join(regexes) or r"(?!)", re.DOTALL).fullmatch
        self._costly = [path_matcher(each) for each in parts if is_costly(each)]
        self._prefixes = None if self._globbing_exceptions() else self._exceptions()

    def ignores(self, path: str, parent: Matched = ()) -> bool:
        """Tell whether `path` is left out; `parent` is what `enter` gave for its directory, () at the root."""
        if not self.has_exceptions:
            return bool(parent or self._any(path)) or any(match(path) for match in self._costly)
        return self.enter(path, parent)[0]

    def enter(self, path: str, parent: Matched = ()) -> tuple[bool, Matched]:
        """Return whether the directory `path` is left out, and what its entries need to be judged.

        One that is left out has to be entered all the same unless `prunes` tells otherwise: an exception may bring back
        something in it, and then the directory itself.
        """
        if not self.has_exceptions:
            ignored = self.ignores(path, parent)
            return ignored, (True,) if ignored else ()
        ignored = False
        known = parent or (False,) * len(self._patterns)
        matched = []
        for (match, exception), before in zip(self._patterns, known, strict=True):
            # A pattern that could not change the answer is not looked at, and then counts as not matching below, too.
            found = before or (exception == ignored and bool(match(path)))
            matched.append(found)
            if found:
                ignored = not exception
        return ignored, tuple(matched)

    def prunes(self, directory: str) -> bool:
        """Tell whether nothing below a directory that is left out can be brought back by an exception."""
        if self._prefixes is None:
            return False
        below = directory + "/"
        return not any(prefix.startswith(below) for prefix in self._prefixes)

    def matches(self, path: str) -> bool:
        """Tell whether `path` is left out, by a pattern that matches it or a directory above it."""
        parts = path.split("/")
        paths = ["/".join(parts[: count + 1]) for count in range(len(parts))]
        ignored = False
        for match, exception in self._patterns:
            if exception == ignored and any(match(part) for part in paths):
                ignored = not exception
        return ignored

    def _globbing_exceptions(self) -> bool:
        return any(_GLOB & set(text) for text in self._exceptions())

    def _exceptions(self) -> list[str]:
        return [f"{pattern.text.removesuffix('/**')}/" for pattern in self.patterns if pattern.exception]


def name_matcher(pattern: str) -> Callable[[str], object]:
    """Return what tells whether a name of a directory matches a pattern, in which `**` is `*`.

    Raises InvalidInput at a pattern that is none.
    """
    try:
        return path_matcher(_Translator(pattern, START, Source("", (pattern,)), single=True).parts())
    except DockerfileError as error:
        raise InvalidInput("match", pattern, error.reason.removeprefix(f"{pattern}: ")) from error


class _Translator:
    """Translates one pattern; with `single`, for names alone."""

    def __init__(self, text: str, position: Position, source: Source, *, single: bool = False) -> None:
        self._text = text
        self._position = position
        self._source = source
        self._single = single
        self._at = 0

    def parts(self) -> list[str]:
        """Return regular expressions for the pattern's parts: wildcards of `positions`, or for one character."""
        text = self._text
        if not self._single and text.startswith("**") and not _GLOB & set(text[2:]):
            # `**name` is any path that ends so, also within a name; `**/name` is a whole one.
            rest = text[2:]
            start = DIRECTORIES if rest.startswith("/") else REST
            return [start, *map(re.escape, rest.removeprefix("/"))]
        parts = []
        while self._at < len(text):
            parts.append(self._piece())
        return parts

    def _piece(self) -> str:
        character = self._next()
        if character == "*":
            return self._stars()
        if character == "?":
            return "[^/]"
        if character == "[":
            return self._class()
        if character == "\\":
            return re.escape(self._needed("a backslash at the end: expected the character that it makes literal"))
        return re.escape(character)

    def _stars(self) -> str:
        while self._single and self._text[self._at : self._at + 1] == "*":
            self._at += 1
        if self._text[self._at : self._at + 1] != "*":
            return NAME
        self._at += 1
        if self._text[self._at : self._at + 1] == "/":
            self._at += 1
        return REST if self._at == len(self._text) else DIRECTORIES

    def _class(self) -> str:
        negated = self._text[self._at : self._at + 1] == "^"
        self._at += negated
        items: list[str] = []
        while not items or self._text[self._at : self._at + 1] != "]":
            low = self._member()
            high = low
            if self._text[self._at : self._at + 1] == "-":
                self._at += 1
                high = self._member()
            if high < low:
                self._fail(f"the range {low}-{high} is empty")
            items.append(f"{_escaped(low)}-{_escaped(high)}" if high != low else _escaped(low))
        self._at += 1
        return f"[{'^' if negated else ''}{''.join(items)}]"

    def _member(self) -> str:
        unclosed = "the [ is not closed: expected characters, ranges and ]"
        character = self._needed(unclosed)
        if character == "\\":
            return self._needed(unclosed)
        if character in "-]":
            self._fail(f"{character} within [ ]: expected a backslash before it")
        return character

    def _next(self) -> str:
        self._at += 1
        return self._text[self._at - 1]

    def _needed(self, reason: str) -> str:
        return self._next() if self._at < len(self._text) else self._fail(reason)

    def _fail(self, reason: str) -> NoReturn:
        raise DockerfileError(self._source, self._position, f"{self._text}: {reason}")


def _escaped(character: str) -> str:
    return f"\\{character}" if character in "\\]^-[&|~" else character
