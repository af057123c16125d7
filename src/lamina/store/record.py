"""Records: small files of `name: value` lines, which `cat` shows and a start reads without a parser worth the name.

A name may stand on several lines: they are a list, in order. In values `\\`, newline and carriage return are written
`\\\\`, `\\n`, `\\r`; bytes that are no UTF-8 pass through as they are. Unknown names are kept by readers of the same
format and ignored by its users, so that a field can be added; a change of meaning is a new format number of the store.
"""

from __future__ import annotations

import os

from lamina.errors import StoreError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import NoReturn

    #: One text, or several under the same name.
    Value = str | int | Iterable[str] | None


def encode_record(fields: Iterable[tuple[str, Value]]) -> bytes:
    """Return the file for `fields`, in their order. None and empty lists leave no line."""
    lines = []
    for name, value in fields:
        if value is None:
            continue
        for text in (value,) if isinstance(value, str) else (str(value),) if isinstance(value, int) else value:
            escaped = text.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
            lines.append(f"{name}: {escaped}\n")
    return os.fsencode("".join(lines))


class Record:
    """The fields of one record; `path` names it in errors."""

    __slots__ = ("path", "_fields")

    def __init__(self, data: bytes, path: str) -> None:
        self.path = path
        self._fields: dict[str, list[str]] = {}
        for line in os.fsdecode(data).split("\n")[:-1]:
            name, colon, value = line.partition(": ")
            if not colon:
                self._damaged(f"the line {line!r} is not `name: value`")
            self._fields.setdefault(name, []).append(_unescape(value) if "\\" in value else value)

    def text(self, name: str, default: str | None = None) -> str:
        """Return the value of `name`, or the default; StoreError where there is neither."""
        values = self._fields.get(name)
        if values:
            return values[0]
        if default is None:
            self._damaged(f"{name} is missing")
        return default

    def number(self, name: str, default: int | None = None) -> int:
        """Return the value of `name` as an integer."""
        text = self.text(name, None if default is None else str(default))
        try:
            return int(text)
        except ValueError:
            self._damaged(f"{name} is not a number")

    def texts(self, name: str) -> list[str]:
        """Return all values of `name`, in order."""
        return self._fields.get(name, [])

    def _damaged(self, reason: str) -> NoReturn:
        raise StoreError("read", self.path, reason)


def _unescape(value: str) -> str:
    parts = value.split("\\\\")
    return "\\".join(part.replace("\\n", "\n").replace("\\r", "\r") for part in parts)
