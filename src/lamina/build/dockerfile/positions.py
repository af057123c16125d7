"""Matching a pattern with many wildcards: all positions in it are followed at once.

A regular expression with k wildcards tries up to n^k ways on a name of n characters; this takes n times the pattern's
length, whatever both hold. The positions reached are the bits of one number: bit i says that the first i parts match
what was read so far.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from typing import Final

#: What matches any number of characters, as the regular expressions that `ignore` translates to.
NAME: Final = "[^/]*"
REST: Final = ".*"
DIRECTORIES: Final = "(?:.*/)?"
WILDCARDS: Final = frozenset({NAME, REST, DIRECTORIES})
_FEW: Final = 2  # of them in a pattern

_BEGIN: Final = ""
_FREE: Final = frozenset({NAME, REST, _BEGIN})  # places that one goes on from with nothing


def is_costly(parts: Sequence[str]) -> bool:
    """Tell whether a regular expression could take more than the square of a path's length."""
    return sum(part in WILDCARDS for part in parts) > _FEW


def path_matcher(parts: Sequence[str]) -> Callable[[str], object]:
    """Return what matches whole paths; what that returns is true or false.

    `parts` are WILDCARDS, and regular expressions for one character each.
    """
    if not is_costly(parts):
        return re.compile("".join(parts), re.DOTALL).fullmatch
    # Most paths differ before the first wildcard or after the last one: that costs little to see.
    wild = [at for at, part in enumerate(parts) if part in WILDCARDS]
    likely = re.compile("".join((*parts[: wild[0]], REST, *parts[wild[-1] + 1 :])), re.DOTALL).fullmatch
    matches = _Positions(parts).matches
    return lambda path: likely(path) is not None and matches(path)


class _Positions:
    def __init__(self, parts: Sequence[str]) -> None:
        # DIRECTORIES has three places: one to begin in, one that any character stays in, and its slash.
        groups = [(_BEGIN, REST, "/") if part == DIRECTORIES else (part,) for part in parts]
        self._places = [place for group in groups for place in group]
        self._ones = [None if place in _FREE else re.compile(place, re.DOTALL).fullmatch for place in self._places]
        self._empty = self._bits(_FREE)  # from these the next place is reached by nothing,
        self._left_out = self._bits({_BEGIN})  # and from these also the third one after it
        self._known: dict[str, tuple[int, int]] = {}

    def _bits(self, kinds: Collection[str]) -> int:
        return sum(1 << at for at, place in enumerate(self._places) if place in kinds)

    def matches(self, text: str) -> bool:
        reached = self._with_empty(1)
        for character in text:
            goes, stays = self._known.get(character) or self._learn(character)
            reached = self._with_empty((reached & goes) << 1 | reached & stays)
            if not reached:
                return False
        return bool(reached >> len(self._places))

    def _with_empty(self, reached: int) -> int:
        """Return the positions with those that can be reached from them by nothing."""
        while True:
            more = reached | (reached & self._empty) << 1 | (reached & self._left_out) << 3
            if more == reached:
                return reached
            reached = more

    def _learn(self, character: str) -> tuple[int, int]:
        """Return from which places the character leads on, and in which it stays."""
        goes = sum(1 << at for at, one in enumerate(self._ones) if one and one(character))
        stays = self._bits({REST} if character == "/" else {REST, NAME})
        self._known[character] = goes, stays
        return goes, stays
