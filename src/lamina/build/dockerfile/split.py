"""Splitting a line: keyword, flags and the rest, and the rest into the words of one instruction or another.

Words keep their quotes here, for `expand` to take away; flags lose them, since the flag itself may be quoted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass

from lamina.build.dockerfile.blanks import BLANKS, PLAIN_WORD, is_blank
from lamina.build.dockerfile.source import Word

_JSON_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_BETWEEN = re.compile(r'(?:[ \t\r\n,]+|"(?:[^"\\]|\\.)*")')
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Parts:
    """A line's first word, the words after it that begin with `--`, and what remains, without blanks around it."""

    keyword: Word
    flags: tuple[Word, ...]
    rest: Word


class NotStrings(ValueError):
    """A JSON list holds something else than texts; `offset` is where the first of them stands."""

    def __init__(self, offset: int) -> None:
        super().__init__(offset)
        self.offset = offset


def trimmed(word: Word) -> Word:
    """Return `word` without blanks around it."""
    start = len(word.text) - len(word.text.lstrip(BLANKS))
    return word.part(start, max(start, len(word.text.rstrip(BLANKS))))


def split_line(line: Word, escape: str) -> Parts:
    """Take apart an instruction's line, which begins with its keyword."""
    line = trimmed(line)
    first = PLAIN_WORD.match(line.text)
    end = first.end() if first else 0
    flags, at = _flags(line, end, escape)
    return Parts(line.part(0, end), tuple(flags), trimmed(line.part(at, len(line.text))))


def _flags(line: Word, at: int, escape: str) -> tuple[list[Word], int]:
    flags: list[Word] = []
    while True:
        while is_blank(line.text[at : at + 1]):
            at += 1
        if not line.text.startswith("--", at):
            return flags, at
        offsets, end = _flag(line.text, at, escape)
        # One that is written without quotes and escapes is simply a part of the line.
        flag = line.part(at, end) if len(offsets) == end - at else line.picked(offsets)
        if flag.text == "--":
            return flags, end  # what follows is no flag, whatever it looks like
        flags.append(flag)
        at = end


def _flag(text: str, at: int, escape: str) -> tuple[list[int], int]:
    """Return the offsets of a flag's characters, without quotes and escapes, and where it ends."""
    offsets: list[int] = []
    quote = ""
    while at < len(text) and (quote or not is_blank(text[at])):
        character = text[at]
        if character == quote:
            quote = ""
        elif not quote and character in "'\"":
            quote = character
        elif character == escape:
            at += 1
            if at < len(text):
                offsets.append(at)
        else:
            offsets.append(at)
        at += 1
    return offsets, min(at, len(text))


def plain_words(rest: Word) -> list[Word]:
    """Return the words between blanks; quotes have no meaning."""
    return [rest.part(*found.span()) for found in PLAIN_WORD.finditer(rest.text)]


def quoted_words(rest: Word, escape: str) -> list[Word]:
    """Return the words between blanks that are neither quoted nor escaped, with their quotes and escapes."""
    words: list[Word] = []
    text, at = rest.text, 0
    while at < len(text):
        if is_blank(text[at]):
            at += 1
            continue
        start = at
        at = _end_of_quoted(text, at, escape)
        # An escape character that ends the text escapes nothing.
        end = at - 1 if at > len(text) else at
        if end > start:
            words.append(rest.part(start, end))
    return words


def _end_of_quoted(text: str, at: int, escape: str) -> int:
    """Return where the word ends; one more than the text's length where its last character is an escape."""
    quote = ""
    while at < len(text) and (quote or not is_blank(text[at])):
        character = text[at]
        if quote and character == quote:
            quote = ""
        elif not quote and character in "'\"":
            quote = character
        elif character == escape and quote != "'":
            at += 1
            if at == len(text):
                return at + 1
        at += 1
    return at


def json_words(rest: Word) -> list[Word] | None:
    """Return the texts of a JSON list, or None for what is none. Raises NotStrings for a list of other things."""
    if not rest.text.startswith("["):
        return None
    refuse: Callable[[str], object] = _no_constant
    try:
        values = json.loads(rest.text, parse_constant=refuse, parse_int=_number, parse_float=_number)
    except RecursionError:
        raise NotStrings(_other_than_text(rest.text)) from None
    except ValueError:
        return None
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise NotStrings(_other_than_text(rest.text))
    spans = [found.span() for found in _JSON_STRING.finditer(rest.text)]
    return [_json_word(rest, span, value) for span, value in zip(spans, values, strict=True)]


def _json_word(rest: Word, span: tuple[int, int], value: str) -> Word:
    inner = rest.part(span[0] + 1, span[1] - 1)
    # Half of a pair of `\u` escapes is no character: other readers of JSON put U+FFFD in its place.
    return inner if inner.text == value else inner.replaced(_SURROGATE.sub("\ufffd", value))


def _other_than_text(text: str) -> int:
    """Return where the first element that is no text begins, in what is a JSON list."""
    at = 1
    while at < len(text) and (found := _BETWEEN.match(text, at)) and found.end() > at:
        at = found.end()
    return at


def _no_constant(name: str) -> object:
    raise ValueError(name)  # NaN and Infinity are Python's own


def _number(text: str) -> object:
    return None  # that there is one is all that matters, and Python refuses to read long ones
