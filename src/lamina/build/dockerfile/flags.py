"""Flags of instructions: which there are, and reading them."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import NoReturn

from lamina.build.dockerfile.source import DockerfileError, Source, Word, did_you_mean


class Kind(Enum):
    """What a flag takes: nothing or true or false; a text; a text, and the flag may be repeated."""

    BOOLEAN = 0
    TEXT = 1
    TEXTS = 2


_BOOLEAN, _TEXT, _TEXTS = Kind

#: The flags of each instruction; those that are not here have none.
FLAGS: Mapping[str, Mapping[str, Kind]] = {
    "FROM": {"platform": _TEXT},
    "RUN": {"mount": _TEXTS, "network": _TEXT, "security": _TEXT, "device": _TEXTS},
    "COPY": {
        "from": _TEXT,
        "chown": _TEXT,
        "chmod": _TEXT,
        "link": _BOOLEAN,
        "parents": _BOOLEAN,
        "exclude": _TEXTS,
    },
    "ADD": {
        "chown": _TEXT,
        "chmod": _TEXT,
        "link": _BOOLEAN,
        "keep-git-dir": _BOOLEAN,
        "checksum": _TEXT,
        "unpack": _BOOLEAN,
        "exclude": _TEXTS,
    },
    "HEALTHCHECK": {
        "interval": _TEXT,
        "timeout": _TEXT,
        "start-period": _TEXT,
        "start-interval": _TEXT,
        "retries": _TEXT,
    },
}


class Flags:
    """The flags that an instruction was given. DockerfileError for those that it does not take."""

    def __init__(self, instruction: str, words: tuple[Word, ...], source: Source) -> None:
        self._source = source
        known = FLAGS.get(instruction, {})
        self._given: dict[str, list[Word]] = {}
        for word in words:
            name, equals, _ = word.text.partition("=")
            kind = known.get(name[2:])
            if kind is None:
                self._unknown(instruction, word, known)
            values = self._given.setdefault(name[2:], [])
            if values and kind is not Kind.TEXTS:
                self._fail(word, f"{name} for the second time")
            if kind is not Kind.BOOLEAN and not equals:
                self._fail(word, f"{name} needs a value: expected {name}=...")
            value = word.part(len(name) + len(equals), len(word.text))
            values.append(self._boolean(name, value) if kind is Kind.BOOLEAN and equals else value)

    def text(self, name: str) -> Word | None:
        """Return the value of a flag, or None where it was not given."""
        return self._given.get(name, [None])[0]

    def texts(self, name: str) -> tuple[Word, ...]:
        """Return all values of a flag."""
        return tuple(self._given.get(name, ()))

    def boolean(self, name: str) -> bool | None:
        """Return the value of a boolean flag: `--name` alone is true; None where it was not given."""
        value = self.text(name)
        return None if value is None else value.text != "false"

    def choice(self, name: str, choices: tuple[str, ...]) -> str:
        """Return the value of a flag that takes one of some words, the first of which is the default."""
        value = self.text(name)
        if value is None:
            return choices[0]
        if value.text not in choices:
            hint = did_you_mean(value.text, choices)
            self._fail(value, f"--{name}={value}: expected {', '.join(choices[:-1])} or {choices[-1]}", hint)
        return value.text

    def _boolean(self, name: str, value: Word) -> Word:
        lower = value.text.lower()
        if lower not in ("true", "false"):
            self._fail(value, f"{name}={value}: expected true or false")
        return value.replaced(lower)

    def _unknown(self, instruction: str, word: Word, known: Mapping[str, Kind]) -> NoReturn:
        name = word.text.partition("=")[0]
        flags = [f"--{flag}" for flag in known]
        expected = f"expected {', '.join(flags)}" if flags else "it has none"
        self._fail(word, f"{instruction} has no flag {name}: {expected}", did_you_mean(name, flags))

    def _fail(self, word: Word, reason: str, hint: str = "") -> NoReturn:
        raise DockerfileError(self._source, word.start, reason, hint)
