"""Cache keys of build steps: a hash over named parts, which are kept, so that a miss can be explained.

A key hashes a format tag and the length-prefixed parts in order. Values that may be private (variables) or long
(contents) stand in the parts as digests; nothing that a secret mount brings is in a key at all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

#: A part of a key: its name for people, and its value.
Part: TypeAlias = tuple[str, str]

_FORMAT = b"lamina build step 1"

#: The part that stands for everything below a step.
BELOW = "the step above"


@dataclass(frozen=True, slots=True)
class Key:
    """A key with its parts."""

    parts: tuple[Part, ...]

    @property
    def text(self) -> str:
        """64 hexadecimal digits."""
        state = hashlib.sha256(_FORMAT)
        for part in self.parts:
            for field in part:
                data = field.encode("utf-8", "surrogateescape")
                state.update(len(data).to_bytes(8, "little") + data)
        return state.hexdigest()

    def resumed(self) -> Key:
        """Return the key of this step carried out over what a failure of it left: not the one that others look for."""
        return Key((*self.parts, ("resumed", "yes")))

    def texts(self) -> tuple[str, ...]:
        """Return the parts as a record keeps them."""
        return tuple(f"{name}={value}" for name, value in self.parts)


def digest(text: str) -> str:
    """Return a digest of a value that is not to be shown, short enough to be read."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def identity(*words: str) -> str:
    """Return the name under which a step's newest key is found again."""
    return Key(tuple(("identity", word) for word in words)).text


def variables(values: Mapping[str, str], kind: str) -> Iterable[Part]:
    """Yield a part for each variable: its name, and the digest of its value."""
    for name in sorted(values):
        yield f"{kind} {name}", digest(values[name])


def differences(before: Iterable[str], after: Iterable[str]) -> list[str]:
    """Return what differs between the parts of two keys, as a person would say it; the step above comes last."""
    old, new = (dict(text.rpartition("=")[::2] for text in parts) for parts in (before, after))
    found = [_changed(name, old[name], new[name]) for name in old if new.get(name, old[name]) != old[name]]
    found += [f"{name} is new" for name in new if name not in old]
    found += [f"{name} is gone" for name in old if name not in new]
    return sorted(found, key=lambda text: text.startswith(BELOW))


def _changed(name: str, old: str, new: str) -> str:
    # All other values are digests, which tell a person nothing.
    return f"{name} {old} -> {new}" if name.startswith("mode of ") else f"{name} changed"
