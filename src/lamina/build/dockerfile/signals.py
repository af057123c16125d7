"""Signals as STOPSIGNAL takes them: Linux's names with or without SIG, in any case, or a number."""

from __future__ import annotations

import re

_TEXT = (
    "ABRT ALRM BUS CHLD CLD CONT FPE HUP ILL INT IO IOT KILL PIPE POLL PROF PWR QUIT SEGV STKFLT STOP SYS TERM TRAP"
    " TSTP TTIN TTOU URG USR1 USR2 VTALRM WINCH XCPU XFSZ RTMIN RTMAX"
)
_NAMES = frozenset(_TEXT.split())
_REALTIME = re.compile(r"RTMIN\+(?:[1-9]|1[0-5])|RTMAX-(?:[1-9]|1[0-4])")
_NUMBER = re.compile(r"[+-]?[0-9]{1,9}")


def is_signal(text: str) -> bool:
    """Tell whether `text` names a signal; every number but 0 does."""
    if _NUMBER.fullmatch(text):
        return int(text) != 0
    name = text.upper().removeprefix("SIG")
    return name in _NAMES or _REALTIME.fullmatch(name) is not None


def signal_names() -> frozenset[str]:
    """Return the names, with SIG."""
    return frozenset(f"SIG{name}" for name in _NAMES)
