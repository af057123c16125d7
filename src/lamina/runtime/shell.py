"""Text for a POSIX shell."""

from __future__ import annotations

_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_@%+=:,./-")


def quote(text: str) -> str:
    """Return `text` as one word of a shell command. (The standard library's shlex imports `re`, 6 ms at start-up.)"""
    if text and all(character in _PLAIN for character in text):
        return text
    return "'" + text.replace("'", "'\\''") + "'"


def command(words: list[str] | tuple[str, ...]) -> str:
    """Return words as a shell command."""
    return " ".join(map(quote, words))
