"""Text for people: how wide it is, cutting it, columns, sizes and ages."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
_AGES = (
    (365 * 86400, "year"),
    (30 * 86400, "month"),
    (7 * 86400, "week"),
    (86400, "day"),
    (3600, "hour"),
    (60, "minute"),
)


def cells(text: str) -> int:
    """Return how many columns of a terminal `text`, free of control characters, takes."""
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(0 if combining(c) or c == "\u200d" else 2 if east_asian_width(c) in "WF" else 1 for c in text)


def cut(text: str, width: int, mark: str = "…") -> str:
    """Return `text`, or as much of its beginning as fits in `width` columns with `mark` after it."""
    if cells(text) <= width:
        return text
    room = width - cells(mark)
    kept = ""
    for c in text:
        room -= cells(c)
        if room < 0:
            break
        kept += c
    return kept + mark if width >= cells(mark) else ""


def cut_middle(text: str, width: int, mark: str = "…") -> str:
    """Return `text`, or its beginning and its end around `mark` in `width` columns: for paths, whose end tells most."""
    if cells(text) <= width:
        return text
    room = width - cells(mark)
    if room < 2:
        return cut(text, width, mark)
    end = ""
    for c in reversed(text):
        if cells(end) + cells(c) > (room + 1) // 2:
            break
        end = c + end
    return cut(text, width - cells(end), mark) + end


def pad(text: str, width: int) -> str:
    """Return `text` with blanks up to `width` columns."""
    return text + " " * (width - cells(text))


def size(count: int) -> str:
    """Return `count` bytes as docker writes them: three digits, decimal units."""
    value, unit = float(count), 0
    while value >= 999.5 and unit < len(_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    digits = f"{value:.3g}" if value < 999.5 else f"{value:.0f}"
    return f"{digits}{_UNITS[unit]}"


def age(seconds: int) -> str:
    """Return how long ago `seconds` are, in the largest unit of which they hold one."""
    for length, unit in _AGES:
        if seconds >= length:
            count = seconds // length
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "just now"


def columns(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a table as lines: each column as wide as its widest entry, three blanks between."""
    table = [header, *rows]
    widths = [max(cells(row[i]) for row in table) for i in range(len(header))]
    return ["   ".join(map(pad, row, widths)).rstrip() for row in table]


def wrap(text: str, width: int, indent: int = 0) -> list[str]:
    """Return `text` in lines of at most `width` columns where words allow it, each behind `indent` blanks."""
    lines = [""]
    for word in text.split():
        if lines[-1] and indent + cells(lines[-1]) + 1 + cells(word) > width:
            lines.append("")
        lines[-1] += f" {word}" if lines[-1] else word
    return [" " * indent + line for line in lines]
