"""Times as OCI documents write them: RFC 3339 text, to and from nanoseconds since the epoch."""

from __future__ import annotations

import time

from lamina.errors import InvalidInput

_SECOND = 1_000_000_000


def format_time(nanoseconds: int) -> str:
    """Return `nanoseconds` since the epoch in UTC, with as many decimals as are needed (Go's RFC3339Nano)."""
    seconds, fraction = divmod(nanoseconds, _SECOND)
    t = time.gmtime(seconds)
    text = f"{t.tm_year:04}-{t.tm_mon:02}-{t.tm_mday:02}T{t.tm_hour:02}:{t.tm_min:02}:{t.tm_sec:02}"
    return text + (f".{fraction:09}".rstrip("0") if fraction else "") + "Z"


def parse_time(text: str) -> int:
    """Return the nanoseconds since the epoch that RFC 3339 `text` means; raise InvalidInput where it means none."""
    from datetime import UTC, datetime  # not needed to start a container

    head, _, tail = text.partition(".")
    digits = tail[: len(tail) - len(tail.lstrip("0123456789"))] if tail.isascii() else ""
    zone = tail[len(digits) :]
    try:
        if "." in text and not digits:
            raise ValueError("no decimals")
        moment = datetime.fromisoformat(head + zone)
        if moment.tzinfo is None or len(head) < 19:
            raise ValueError("no time zone")
        delta = moment - datetime(1970, 1, 1, tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidInput("read the time", repr(text), "it is not RFC 3339 (2026-01-31T12:00:00Z)") from error
    return (delta.days * 86400 + delta.seconds) * _SECOND + int(digits[:9].ljust(9, "0"))
