"""Digests of file contents, remembered by what a file looks like, so that an unchanged context is not read again.

The table is one file a tree: a line for each file, `DEV INO SIZE MTIME CTIME DIGEST`, times in nanoseconds. A file that
was changed while it was digested, or so shortly before that another change could leave it looking the same, gets no
line (the rule of git for "racy" entries). A table that cannot be read is as good as none.
"""

from __future__ import annotations

import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

# Kernels take a file's times from a clock that ticks every few milliseconds; some file systems keep only seconds.
_TICK = 20_000_000
_SECOND = 1_000_000_000


class Digests:
    """The table in the file `path`, which `save` replaces if there is news; "" for a table that is not kept."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._known = _read(path) if path else {}
        self._used: dict[str, str] = {}
        self._news = False

    def of(self, status: os.stat_result, digest: Callable[[], str]) -> str:
        """Return the digest of the file that `status` describes; `digest` is called where it is not known."""
        if not self._path:
            return digest()
        look = f"{status.st_dev} {status.st_ino} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"
        found = self._known.get(look)
        if found is None:
            began = time.time_ns()
            found = digest()
            if not is_settled(status, began):
                return found
            self._news = True
        self._used[look] = found
        return found

    def save(self) -> None:
        """Write the table anew, with the files that were asked for."""
        if not self._path or not self._news:
            return
        temporary = f"{self._path}.{os.getpid()}-{time.monotonic_ns()}"
        os.makedirs(os.path.dirname(self._path), exist_ok=True)
        with open(temporary, "x", encoding="ascii") as file:
            file.writelines(f"{look} {digest}\n" for look, digest in self._used.items())
        os.rename(temporary, self._path)


def is_settled(status: os.stat_result, began: int) -> bool:
    """Tell whether a file that is read from the time `began` on, and looks like `status`, shows any later change."""
    return _changed(status) + _granularity(status) < began


def _read(path: str) -> dict[str, str]:
    try:
        with open(path, encoding="ascii") as file:
            return {line[:-33]: line[-32:] for line in file.read().splitlines()}
    except (OSError, UnicodeError):
        return {}


def _changed(status: os.stat_result) -> int:
    return max(status.st_mtime_ns, status.st_ctime_ns)


def _granularity(status: os.stat_result) -> int:
    return _TICK if status.st_ctime_ns % _SECOND else 2 * _SECOND
