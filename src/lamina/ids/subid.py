"""The ranges of ids that a user was given in /etc/subuid and /etc/subgid (subuid(5)), and finding helper programs."""

from __future__ import annotations

import os

# What useradd(8) gives: from here on, so many.
_FIRST, _COUNT = 100000, 65536


class Range:
    """`count` ids of the host from `first` on."""

    __slots__ = ("count", "first")

    def __init__(self, first: int, count: int) -> None:
        self.first = first
        self.count = count

    def __str__(self) -> str:
        return f"{self.first}:{self.count}"

    @classmethod
    def parse(cls, text: str) -> Range:
        """Read what `str` wrote; raises ValueError."""
        first, _, count = text.partition(":")
        return cls(int(first), int(count))


def range_of(path: str, uid: int) -> Range | None:
    """Return the longest range that the file gives to the user (by name or number), or None.

    Damaged lines are skipped, as newuidmap(1) does. Both ranges start at 1 inside and may differ in length.
    """
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            lines = file.read().splitlines()
    except OSError:
        return None
    if not lines:
        return None
    names = {str(uid), _login(uid)}
    best: Range | None = None
    for line in lines:
        owner, _, rest = line.strip().partition(":")
        first, _, count = rest.partition(":")
        if owner in names and first.isdecimal() and count.isdecimal() and int(count) > (best.count if best else 0):
            best = Range(int(first), int(count))
    return best


def range_command(name: str) -> str:
    """Return the command by which root gives the user a range that nobody has yet."""
    first = _FIRST
    for path in ("/etc/subuid", "/etc/subgid"):
        try:
            with open(path, encoding="utf-8", errors="surrogateescape") as file:
                fields = [line.strip().split(":") for line in file]
        except OSError:
            continue
        first = max([first, *(int(row[1]) + int(row[2]) for row in fields if _is_range(row))])
    span = f"{first}-{first + _COUNT - 1}"
    return f"usermod --add-subuids {span} --add-subgids {span} {name}"


def _is_range(row: list[str]) -> bool:
    return len(row) == 3 and row[1].isdecimal() and row[2].isdecimal()


def _login(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return ""


def find_program(name: str, path: str = "") -> str | None:
    """Return the path of an executable in `path` (default: PATH and the system's directories), or None."""
    places = (path or os.environ.get("PATH", "")) + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    for place in places.split(":"):
        candidate = os.path.join(place, name)
        if place and os.access(candidate, os.X_OK) and os.path.isfile(candidate):
            return candidate
    return None
