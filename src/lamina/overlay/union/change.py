"""What an upper makes of the layers below it, name by name."""

from __future__ import annotations

from typing import Literal


class Change:
    """One name that the upper makes differ from the layers: `kind` is "A" (added), "C" (changed) or "D" (deleted)."""

    __slots__ = ("kind", "path")

    def __init__(self, kind: Literal["A", "C", "D"], path: bytes) -> None:
        self.kind = kind
        self.path = path

    def __repr__(self) -> str:
        return f"Change({self.kind!r}, {self.path!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Change) and (self.kind, self.path) == (other.kind, other.path)

    def __hash__(self) -> int:
        return hash((self.kind, self.path))
