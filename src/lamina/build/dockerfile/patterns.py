"""The patterns of `${v#p}` and `${v/p/r}`: `*`, `?` and characters, `\\*`, `\\?` and `\\\\` being literal.

Brackets have no meaning. `*` and `?` do not match a newline. Matching follows all positions at once, so that no pattern
takes more than length times length steps.
"""

from __future__ import annotations

from typing import Final, TypeAlias

_ANY: Final = 0  # one character
_MANY: Final = 1  # any number of them

Tokens: TypeAlias = tuple[str | int, ...]


class BadPattern(ValueError):
    """A backslash stands before something that needs none, or a result is too long; the text says what."""


def parse_pattern(text: str) -> Tokens:
    """Return the tokens of a pattern: a character for itself, or a number for a wildcard. Raises BadPattern."""
    tokens: list[str | int] = []
    characters = iter(text)
    for character in characters:
        if character == "*":
            tokens.append(_MANY)
        elif character == "?":
            tokens.append(_ANY)
        elif character == "\\":
            tokens.append(_escaped(next(characters, "")))
        else:
            tokens.append(character)
    return tuple(tokens)


def _escaped(character: str) -> str:
    # `}` and `/` would end the pattern, so they are escaped although they mean nothing in it.
    if character and character in "*?\\}/":
        return character
    raise BadPattern(f"\\{character} in a pattern; a backslash escapes *, ?, }}, / and itself")


def _ends(tokens: Tokens, value: str, start: int, *, longest: bool) -> int | None:
    """Return where the shortest or longest match that begins at `start` ends, or None."""
    states = _closure(tokens, {0})
    found: int | None = None
    at = start
    while states:
        if len(tokens) in states:
            found = at
            if not longest:
                return found
        if at == len(value):
            break
        states = _closure(tokens, _step(tokens, states, value[at]))
        at += 1
    return found


def _closure(tokens: Tokens, states: set[int]) -> set[int]:
    for state in sorted(states):
        following = state
        while following < len(tokens) and tokens[following] == _MANY:
            following += 1
            states.add(following)
    return states


def _step(tokens: Tokens, states: set[int], character: str) -> set[int]:
    after = set()
    for state in states:
        token = tokens[state] if state < len(tokens) else None
        if token == _MANY and character != "\n":
            after.add(state)
        elif token == character or (token == _ANY and character != "\n"):
            after.add(state + 1)
    return after


def without_prefix(tokens: Tokens, value: str, *, longest: bool) -> str:
    """Return `value` without the shortest or longest beginning that matches."""
    end = _ends(tokens, value, 0, longest=longest)
    return value if end is None else value[end:]


def without_suffix(tokens: Tokens, value: str, *, longest: bool) -> str:
    """Return `value` without the shortest or longest ending that matches."""
    return without_prefix(tokens[::-1], value[::-1], longest=longest)[::-1]


def replace(tokens: Tokens, value: str, replacement: str, *, everywhere: bool, limit: int) -> str:
    """Return `value` with its first match replaced, or all; matches are as long as they can be.

    An empty match that touches the one before it is none. Raises BadPattern where the replacements have more
    than `limit` characters together.
    """
    parts: list[str] = []
    added = 0
    at = copied = 0
    previous = -1
    while at <= len(value):
        end = _ends(tokens, value, at, longest=True)
        if end is not None and not (end == at == previous):
            parts += [value[copied:at], replacement]
            copied = previous = end
            added += len(replacement)
            if added > limit:
                raise BadPattern(f"its value has more than {limit} characters")
            if not everywhere:
                break
        at = end if end is not None and end > at else at + 1
    return "".join(parts) + value[copied:]
