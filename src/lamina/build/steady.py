"""Whether files of the host are copied as they were digested: what a step is known by has to be what it made.

Between the two, and during either, somebody may write to a context. A file that looks as it did (lstat(2), and it was
at rest when it was digested) is the same; of any other, what was copied is digested again, so that a file that was only
touched is no error.
"""

from __future__ import annotations

import hashlib
import os
import stat
from typing import TYPE_CHECKING, NoReturn

from lamina.build.again import look
from lamina.build.digests import is_settled
from lamina.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lamina.overlay.union.union import Union

_READ = 1 << 20
_HINT = "build when nothing writes to it, or leave it out with a .dockerignore"


def digest_file(tree: Union, path: str, status: os.stat_result) -> str:
    """Return a digest of what a file is and holds, without its times, mode and owner.

    Of one that grows, no more than its size of `status` and a little is read: the end may never come.
    """
    state = hashlib.sha256(f"{stat.S_IFMT(status.st_mode):o} ".encode())
    if stat.S_ISREG(status.st_mode):
        left = status.st_size + 1
        with tree.open(path, "rb") as file:
            while left > 0 and (piece := file.read(min(_READ, left))):
                state.update(piece)
                left -= len(piece)
    elif stat.S_ISLNK(status.st_mode):
        state.update(os.fsencode(tree.readlink(path)))
    return state.hexdigest()[:32]


def described(status: os.stat_result, began: int) -> str:
    """Return what a file that is digested from the time `began` on is to look like later; "" if that could deceive."""
    if stat.S_ISDIR(status.st_mode):
        return "directory"
    return look(status) if is_settled(status, began) else ""


class Steady:
    """The files that a step takes, as rows of `files.digest_sources`: path, mode, digest, `described`."""

    def __init__(self, rows: Iterable[list[str]]) -> None:
        self._rows = {path: (mode, content, looks) for path, mode, content, looks in rows}

    def check_names(self, paths: Iterable[str]) -> None:
        """Refuse files that came, or went away (InvalidInput)."""
        for path in sorted(self._rows.keys() ^ set(paths)):
            _refuse(path)

    def check(self, path: str, *looks: os.stat_result) -> bool:
        """Tell whether a file looks as it did, in all of `looks`. Raises InvalidInput where type or mode differ."""
        mode, _, expected = self._rows.get(path) or _refuse(path)
        for status in looks:
            if f"{stat.S_IMODE(status.st_mode):04o}" != mode:
                _refuse(path)
            if stat.S_ISDIR(status.st_mode) is not (expected == "directory"):
                _refuse(path)
        return expected == "directory" or all(look(status) == expected for status in looks)

    def compare(self, path: str, made: Union, copy: str, status: os.stat_result) -> None:
        """Refuse a file whose copy in `made` is not what was digested (InvalidInput)."""
        if digest_file(made, copy, status) != self._rows[path][1]:
            _refuse(path)


def _refuse(path: str) -> NoReturn:
    raise InvalidInput("copy", path.lstrip("/"), "it changed while it was read", _HINT)
