"""Words of a Dockerfile-style line: quotes, backslashes and variables, as docker's shell lexer has them.

`'...'` is literal; in `"..."` a backslash escapes `"`, `$` and itself; outside, it escapes anything. `$NAME` and
`${NAME}` are replaced, also inside double quotes, `${NAME:-word}` and `${NAME:+word}` as in a shell.
"""

from __future__ import annotations

from collections.abc import Mapping

from lamina.errors import InvalidInput

_NAME_START = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_")
_NAME = _NAME_START | frozenset("0123456789")


def split_words(text: str, env: Mapping[str, str]) -> list[str]:
    """Return the words of `text`, unquoted and expanded; InvalidInput for a quote or brace that is not closed."""
    scanner = _Scanner(text, env)
    words = []
    while scanner.skip_blanks():
        words.append(scanner.word(" \t"))
    return words


def expand(text: str, env: Mapping[str, str]) -> str:
    """Return the whole of `text` as one word, blanks kept."""
    return _Scanner(text, env).word("")


class _Scanner:
    def __init__(self, text: str, env: Mapping[str, str]) -> None:
        self.text = text
        self.env = env
        self.at = 0

    def skip_blanks(self) -> bool:
        while self.at < len(self.text) and self.text[self.at] in " \t":
            self.at += 1
        return self.at < len(self.text)

    def word(self, ends: str) -> str:
        parts: list[str] = []
        while self.at < len(self.text) and self.text[self.at] not in ends:
            character = self._next()
            if character == "'":
                parts.append(self._single())
            elif character == '"':
                parts.append(self._double())
            elif character == "\\":
                parts.append(self._next() if self.at < len(self.text) else "\\")
            elif character == "$":
                parts.append(self._variable())
            else:
                parts.append(character)
        return "".join(parts)

    def _next(self) -> str:
        self.at += 1
        return self.text[self.at - 1]

    def _single(self) -> str:
        end = self.text.find("'", self.at)
        if end < 0:
            self._unclosed("single quote")
        part, self.at = self.text[self.at : end], end + 1
        return part

    def _double(self) -> str:
        parts: list[str] = []
        while self.at < len(self.text):
            character = self._next()
            if character == '"':
                return "".join(parts)
            if character == "$":
                parts.append(self._variable())
            elif character == "\\" and self.text[self.at : self.at + 1] in {'"', "$", "\\"}:
                parts.append(self._next())
            else:
                parts.append(character)
        return self._unclosed("double quote")

    def _variable(self) -> str:
        if self.text[self.at : self.at + 1] == "{":
            self.at += 1
            return self._braced()
        name = self._name()
        return self.env.get(name, "") if name else "$"

    def _braced(self) -> str:
        name = self._name()
        if not name:
            raise InvalidInput("read", repr(self.text), "${ is followed by no variable name")
        value = self.env.get(name, "")
        operator = self.text[self.at : self.at + 2]
        if operator in {":-", ":+"}:
            self.at += 2
            alternative = self.word("}")
            value = value or alternative if operator == ":-" else alternative if value else ""
        if self.at >= len(self.text):
            self._unclosed("${")
        if self._next() != "}":
            raise InvalidInput("read", repr(self.text), f"${{{name} is followed by neither }}, :- nor :+")
        return value

    def _name(self) -> str:
        start = self.at
        if self.at < len(self.text) and self.text[self.at] in _NAME_START:
            while self.at < len(self.text) and self.text[self.at] in _NAME:
                self.at += 1
        return self.text[start : self.at]

    def _unclosed(self, what: str) -> str:
        raise InvalidInput("read", repr(self.text), f"a {what} is not closed")
