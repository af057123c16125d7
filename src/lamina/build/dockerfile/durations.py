"""Durations as Go writes them: `1m30s`, `1.5h`, `300ms`. HEALTHCHECK's flags take them."""

from __future__ import annotations

import re
from decimal import Decimal

_UNITS = {"ns": 1, "us": 10**3, "µs": 10**3, "μs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_PART = re.compile(r"([0-9]{1,30}(?:\.[0-9]{0,30})?|\.[0-9]{1,30})(ns|us|µs|μs|ms|s|m|h)")
_MOST = 2**63 - 1


def parse_duration(text: str) -> int | None:
    """Return nanoseconds, or None for what is no duration. A sign is allowed, and so is 0 without a unit."""
    sign = -1 if text.startswith("-") else 1
    digits = text[1:] if text[:1] in ("+", "-") else text
    if digits == "0":
        return 0
    total, at = 0, 0
    while found := _PART.match(digits, at):
        total += int(Decimal(found.group(1)) * _UNITS[found.group(2)])
        at = found.end()
    if not digits or at < len(digits) or total > _MOST:
        return None
    return sign * total


def format_duration(nanoseconds: int) -> str:
    """Return a duration that reads back as the same: in seconds where that is whole, else in smaller units."""
    for unit in ("s", "ms", "us"):
        if nanoseconds % _UNITS[unit] == 0:
            return f"{nanoseconds // _UNITS[unit]}{unit}"
    return f"{nanoseconds}ns"
