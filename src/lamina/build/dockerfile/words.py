"""Words: quotes, escapes and variables, as the reference describes them and its shell lexer does them.

`'...'` is literal. In `"..."` the escape character escapes `"`, `$` and itself; outside it escapes anything, and at the
end of the text it is dropped. `$name` and `${name}` are replaced outside of single quotes, an unset one by nothing:

    ${v:-w} ${v-w}      w if v is unset (with a colon: or empty)        ${v#p} ${v##p}    without a beginning p
    ${v:+w} ${v+w}      w if v is set, else nothing                     ${v%p} ${v%%p}    without an ending p
    ${v:?e} ${v?e}      v, or an error with the text e                  ${v/p/r} ${v//p/r}   the first p, or all, by r

w, e, p and r may hold variables themselves, which are looked up even where the result is not used. Names are letters,
digits and underscores; `$1`, `$@` and the like are names that are never set.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn

from lamina.build.dockerfile.blanks import is_blank
from lamina.build.dockerfile.patterns import BadPattern, parse_pattern, replace, without_prefix, without_suffix
from lamina.build.dockerfile.source import DockerfileError, Position, Source, Word

_SPECIAL = frozenset("@*#?-$!0")
_LONGEST = 1 << 20  # characters of a word: what doubles itself from one ARG to the next ends here
_DEEPEST = 100  # substitutions within substitutions: beyond what people write, and well within Python's stack
_SIMPLE = re.compile(r"[A-Za-z0-9_./:@%+,=~-]*")  # most words: nothing to do
_NOTHING: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class Rules:
    """How a text is read: `quotes` false takes them for characters (here-documents); the rest keeps what was written.

    `raw_quotes` and `raw_escapes` leave them in the result, `keep_unset` leaves variables that are not set.
    """

    escape: str = "\\"
    quotes: bool = True
    raw_quotes: bool = False
    raw_escapes: bool = False
    keep_unset: bool = False


PLAIN = Rules()
#: Taking apart a line without changing its words.
AS_WRITTEN = Rules(raw_quotes=True, raw_escapes=True, keep_unset=True)


@dataclass(frozen=True, slots=True)
class Expansion:
    """What a text became: `text` as one word, `words` split at its unquoted blanks, and the variables it asked for.

    `used` are those that are set; `missing` those that are not, each with the position where it was asked for first.
    """

    text: str
    words: tuple[str, ...]
    used: frozenset[str]
    missing: Mapping[str, Position]


def expand_word(word: Word, variables: Mapping[str, str], source: Source, rules: Rules = PLAIN) -> Expansion:
    """Return `word` without its quotes and with its variables replaced.

    Raises DockerfileError at the character in question: a quote or brace that is not closed, an unknown form of `${`, a
    pattern with a needless backslash, a variable that has to be set (`${v:?...}`).
    """
    if (
        not any(special in word.text for special in ("$", "'", '"', rules.escape, " ", "\t", "<"))
        and word.text.isascii()
    ):
        return Expansion(word.text, (word.text,) if word.text else (), frozenset(), {})
    lexer = _Lexer(word, variables, source, rules)
    text, words = lexer.until("", raw_escapes=rules.raw_escapes)
    return Expansion(text, words, frozenset(lexer.used), lexer.missing)


def words_of(word: Word, source: Source, rules: Rules = AS_WRITTEN) -> tuple[str, ...]:
    """Return the words of a text in which no variable is set."""
    return expand_word(word, _NOTHING, source, rules).words


class _Splitter:
    """Collects the words of a text: blanks split it, but not those that were quoted."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self._word: list[str] = []

    def add(self, text: str, *, quoted: bool) -> None:
        if quoted:
            self._word.append(text)
            return
        for character in text:
            if is_blank(character):
                self.end()
            else:
                self._word.append(character)

    def end(self) -> None:
        if word := "".join(self._word):
            self.words.append(word)
        self._word.clear()


class _Lexer:
    def __init__(self, word: Word, variables: Mapping[str, str], source: Source, rules: Rules) -> None:
        self._whole = word
        self._text = word.text
        self._variables = variables
        self._source = source
        self._rules = rules
        self._raw_escapes = rules.raw_escapes
        self._at = 0
        self._depth = 0
        self._asked: dict[str, int] = {}
        self.used: set[str] = set()
        self.missing: dict[str, Position] = {}

    def until(self, stop: str, *, raw_escapes: bool) -> tuple[str, tuple[str, ...]]:
        """Read up to the character `stop` and past it, or to the end with ""."""
        outer, self._raw_escapes = self._raw_escapes, raw_escapes
        start = self._at
        parts: list[str] = []
        split = _Splitter()
        length = 0
        while character := self._peek():
            if character == stop:
                self._at += 1
                break
            text, quoted = self._piece(character)
            length += len(text)
            if length > _LONGEST:
                self._fail(start, f"its value has more than {_LONGEST} characters")
            parts.append(text)
            split.add(text, quoted=quoted)
        else:
            if stop:
                self._fail(start, f"the ${{ is not closed: expected {stop}")
        split.end()
        self._raw_escapes = outer
        return "".join(parts), tuple(split.words)

    def _piece(self, character: str) -> tuple[str, bool]:
        if character == "$":
            return self._dollar(), False
        if character == "<":
            return self._less_than(), True
        if self._rules.quotes and character == "'":
            return self._single(), True
        if self._rules.quotes and character == '"':
            return self._double(), True
        self._at += 1
        if character != self._rules.escape:
            return character, False
        kept = character if self._raw_escapes else ""
        return kept + self._next(), True

    def _single(self) -> str:
        start = self._at
        end = self._text.find("'", start + 1)
        if end < 0:
            self._fail(start, "this single quote is not closed")
        self._at = end + 1
        return self._text[start : end + 1] if self._rules.raw_quotes else self._text[start + 1 : end]

    def _double(self) -> str:
        start = self._at
        self._at += 1
        mark = '"' if self._rules.raw_quotes else ""
        parts = [mark]
        while character := self._peek():
            if character == '"':
                self._at += 1
                return "".join(parts) + mark
            parts.append(self._dollar() if character == "$" else self._within_double())
        return self._fail(start, "this double quote is not closed")

    def _within_double(self) -> str:
        character = self._next()
        if character != self._rules.escape:
            return character
        kept = character if self._raw_escapes else ""
        following = self._peek()
        if not following:
            return kept  # at the end of the text it escapes nothing; the missing quote is reported
        return kept + (self._next() if following in ('"', "$", self._rules.escape) else character)

    def _less_than(self) -> str:
        # The blanks of `<< NAME` belong to the word: it may open a here-document.
        start = self._at
        self._at += 1
        if self._peek() == "<":
            self._at += 1
            while self._peek() and self._peek() in "\t\r ":
                self._at += 1
        return self._text[start : self._at]

    def _dollar(self) -> str:
        start = self._at
        self._at += 1
        if self._peek() != "{":
            name = self._name(start)
            return self._value(name, f"${name}") if name else "$"
        self._at += 1
        self._depth += 1
        if self._depth > _DEEPEST:
            self._fail(start, f"more than {_DEEPEST} substitutions within each other")
        value = self._braced(start)
        self._depth -= 1
        return value

    def _braced(self, start: int) -> str:
        if not self._peek():
            self._fail(start, "the ${ is not closed: expected a name and }")
        if self._peek() in "{}:":
            self._fail(self._at, "expected the name of a variable after ${")
        name = self._name(start)
        operator = self._next()
        if operator == ":":
            operator += self._next()
        if operator == "}":
            return self._value(name, f"${{{name}}}")
        if operator == "/":
            return self._replaced(name)
        if operator in ("#", "%"):
            return self._trimmed(name, operator)
        if operator in ("-", ":-", "+", ":+", "?", ":?"):
            return self._conditional(name, operator, start)
        if not operator:
            self._fail(start, "the ${ is not closed: expected }")
        return self._fail(
            self._at - len(operator),
            f"{operator} after ${{{name}: expected }}, or one of - :- + :+ ? :? # ## % %% / //",
        )

    def _conditional(self, name: str, operator: str, start: int) -> str:
        word, _ = self.until("}", raw_escapes=False)
        value = self._look_up(name)
        if value is None and self._rules.keep_unset:
            return f"${{{name}{operator}{word}}}"
        given = value is not None and not (operator[0] == ":" and value == "")
        if operator[-1] == "+":
            return word if given else ""
        if given and value is not None:
            return value
        if operator[-1] == "-":
            return word
        needed = "it must be set" if operator == "?" else "it must be set and not empty"
        return self._fail(start, f"{name}: {word or needed}")

    def _trimmed(self, name: str, operator: str) -> str:
        start = self._at
        word, _ = self.until("}", raw_escapes=True)
        value = self._look_up(name)
        if value is None and self._rules.keep_unset:
            return f"${{{name}{operator}{word}}}"
        longest = word.startswith(operator)
        tokens = self._pattern(word[1:] if longest else word, start)
        trim = without_prefix if operator == "#" else without_suffix
        return trim(tokens, value or "", longest=longest)

    def _replaced(self, name: str) -> str:
        everywhere = self._peek() == "/"
        self._at += everywhere
        start = self._at
        pattern, _ = self.until("/", raw_escapes=True)
        replacement, _ = self.until("}", raw_escapes=True)
        value = self._look_up(name)
        if value is None and self._rules.keep_unset:
            return f"${{{name}/{pattern}/{replacement}}}"
        tokens = self._pattern(pattern, start)
        try:
            return replace(tokens, value or "", replacement, everywhere=everywhere, limit=_LONGEST)
        except BadPattern as error:
            self._fail(start, str(error))

    def _pattern(self, text: str, start: int) -> tuple[str | int, ...]:
        try:
            return parse_pattern(text)
        except BadPattern as error:
            self._fail(start, str(error))

    def _name(self, asked: int) -> str:
        start = self._at
        first = self._peek()
        if first.isdecimal():
            while self._peek().isdecimal():
                self._at += 1
        elif first in _SPECIAL:
            self._at += 1
        else:
            while (character := self._peek()) and (character == "_" or character.isalpha() or character.isdecimal()):
                self._at += 1
        name = self._text[start : self._at]
        self._asked.setdefault(name, asked)
        return name

    def _value(self, name: str, written: str) -> str:
        value = self._look_up(name)
        if value is None:
            return written if self._rules.keep_unset else ""
        return value

    def _look_up(self, name: str) -> str | None:
        value = self._variables.get(name)
        if value is None:
            self.missing.setdefault(name, self._whole.position(self._asked[name]))
        else:
            self.used.add(name)
        return value

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _next(self) -> str:
        character = self._peek()
        self._at += len(character)
        return character

    def _fail(self, offset: int, reason: str) -> NoReturn:
        raise DockerfileError(self._source, self._whole.position(offset), reason)
