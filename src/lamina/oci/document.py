"""From JSON bytes to values: sizes and depth limited, every refusal with the JSON path of what is wrong.

JSON comes in as `object`; a `Fields` hands out the fields of one object as what they must be, and what nobody took is
left in `rest`, so that fields of a later specification survive. `null` is as absent, as Go's decoder has it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import NoReturn, TypeVar

from lamina.errors import InvalidInput

#: The largest document that is read, in bytes: registries refuse larger manifests, and configs come nowhere near.
MAX_DOCUMENT = 4 << 20

_T = TypeVar("_T")


def parse_json(raw: bytes, what: str) -> object:
    """Return the JSON in `raw` as Python's objects; `what` names the document in errors (InvalidInput)."""
    if len(raw) > MAX_DOCUMENT:
        raise InvalidInput("read", what, f"it is larger than {MAX_DOCUMENT} bytes")
    try:
        return json.loads(raw.decode(), parse_constant=_refuse_constant)
    except RecursionError as error:
        raise InvalidInput("read", what, "it is nested too deeply") from error
    except ValueError as error:  # JSONDecodeError, UnicodeDecodeError, and integers of more than 4300 digits
        raise InvalidInput("read", what, f"it is not JSON: {error}") from error


def encode_json(value: object) -> bytes:
    """Return `value` as compact JSON with sorted keys: the same bytes for the same value."""
    return json.dumps(value, separators=(",", ":"), sort_keys=True, allow_nan=False).encode()


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")


class Fields:
    """The fields of one JSON object, taken one by one.

    `what` names the document and `path` the object's place in it ("config.Labels"), for errors.
    """

    __slots__ = ("what", "path", "_left")

    def __init__(self, value: object, what: str, path: str = "") -> None:
        self.what = what
        self.path = path
        if not isinstance(value, dict):
            self.refuse("", "must be an object")
        self._left: dict[str, object] = dict(value)

    def refuse(self, name: str, reason: str) -> NoReturn:
        """Raise InvalidInput about the field `name`, or about the object itself."""
        path = ".".join(part for part in (self.path, name) if part) or "the document"
        raise InvalidInput("read", self.what, f"{path} {reason}")

    def rest(self) -> dict[str, object]:
        """Return the fields that were not taken."""
        return self._left

    def has(self, name: str) -> bool:
        """Tell whether the field is there, not yet taken, and not null."""
        return self._left.get(name) is not None

    def text(self, name: str, default: str = "") -> str:
        """Take a string."""
        value = self._left.pop(name, None)
        if value is None:
            return default
        return value if isinstance(value, str) else self.refuse(name, "must be a string")

    def needed_text(self, name: str) -> str:
        """Take a string that must be there and not be empty."""
        return self.text(name) or self.refuse(name, "is missing")

    def integer(self, name: str, default: int | None = None) -> int:
        """Take an integer; without a default it must be there."""
        value = self._left.pop(name, None)
        if value is None and default is not None:
            return default
        if not isinstance(value, int) or isinstance(value, bool):
            self.refuse(name, "is missing" if value is None else "must be an integer")
        return value

    def flag(self, name: str) -> bool:
        """Take a boolean; absent is false."""
        value = self._left.pop(name, None)
        return (
            value if isinstance(value, bool) else self.refuse(name, "must be a boolean") if value is not None else False
        )

    def texts(self, name: str) -> tuple[str, ...] | None:
        """Take a list of strings, or None where there is none."""
        items = self._list(name)
        if items is None:
            return None
        return tuple(
            item if isinstance(item, str) else self.refuse(f"{name}[{i}]", "must be a string")
            for i, item in enumerate(items)
        )

    def text_map(self, name: str) -> dict[str, str]:
        """Take an object whose values are all strings; absent is empty."""
        value = self._left.pop(name, None)
        if value is None:
            return {}
        if not isinstance(value, dict):
            self.refuse(name, "must be an object")
        return {
            key: item if isinstance(item, str) else self.refuse(f"{name}.{key}", "must be a string")
            for key, item in value.items()
        }

    def key_set(self, name: str) -> tuple[str, ...]:
        """Take an object that stands for a set ({"80/tcp": {}}) and return its keys, sorted; absent is empty."""
        value = self._left.pop(name, None)
        if value is None:
            return ()
        return tuple(sorted(value)) if isinstance(value, dict) else self.refuse(name, "must be an object")

    def child(self, name: str) -> Fields:
        """Take an object that must be there."""
        value = self._left.pop(name, None)
        if value is None:
            self.refuse(name, "is missing")
        return Fields(value, self.what, self._at(name))

    def parsed(self, name: str, parse: Callable[[str], _T]) -> _T:
        """Take a string that must be there and return what `parse` makes of it."""
        return self._parsed(name, self.needed_text(name), parse)

    def each_parsed(self, name: str, parse: Callable[[str], _T]) -> tuple[_T, ...]:
        """Take a list of strings and return what `parse` makes of each; absent is empty."""
        return tuple(self._parsed(f"{name}[{i}]", text, parse) for i, text in enumerate(self.texts(name) or ()))

    def _parsed(self, name: str, text: str, parse: Callable[[str], _T]) -> _T:
        try:
            return parse(text)
        except InvalidInput as error:
            self.refuse(name, f"is {text!r}: {error.reason}")

    def children(self, name: str) -> tuple[Fields, ...] | None:
        """Take a list of objects, or None where there is none."""
        items = self._list(name)
        if items is None:
            return None
        return tuple(Fields(item, self.what, self._at(f"{name}[{i}]")) for i, item in enumerate(items))

    def _list(self, name: str) -> list[object] | None:
        value = self._left.pop(name, None)
        if value is None:
            return None
        return value if isinstance(value, list) else self.refuse(name, "must be a list")

    def _at(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path else name


def without_empty(fields: Mapping[str, object]) -> dict[str, object]:
    """Return the fields whose value is not None, "", (), {}, 0 or False: what Go's `omitempty` leaves out."""
    return {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in fields.items()
        if value not in (None, "", (), {}, False)
    }
