"""What an interrupted mount left in the work directory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from lamina.errors import shown
from lamina.overlay import format as marks
from lamina.overlay.strange import MERGING
from lamina.overlay.union.upper import INDEX
from lamina.overlay.upper.steps import Remove, Step, sync
from lamina.overlay.upper.stopped import Stopped, raw_marks

_WORK, _INCOMPAT, _VOLATILE = b"work", b"incompat", b"volatile"


@dataclass(frozen=True, slots=True)
class Sync:
    """The upper's file system is written to disk."""

    def describe(self) -> str:
        return "write to disk what the volatile mount did not"

    def do(self, room: Stopped) -> None:
        sync(room.work)


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong at `path` of the upper (or of its work directory: `work/…`), and the steps that mend it.

    `kind` is one word: whiteout, redirect, metacopy, value, misplaced, contradiction, spelling, impure, twice, orphan,
    index, unmountable. Without steps it cannot be mended here.
    """

    path: bytes
    kind: str
    text: str
    repair: tuple[Step, ...]
    work: bool = False

    def describe(self) -> str:
        """Return it as a line for people."""
        return f"{'work/' if self.work else ''}{shown(self.path or b'.')}: {self.text}"


def leftovers(room: Stopped) -> Iterator[Finding]:
    """Yield what stands in the work directory and serves nobody."""
    for name in _names(room, _WORK):
        path = _WORK + b"/" + name
        if name == _INCOMPAT:
            yield from _features(room, path)
        elif not marks.is_whiteout_device(room.work.stat(path)):  # the kernel keeps one there to link whiteouts to
            yield _orphan(path, "orphan", "an interrupted operation left it")
    for name in _names(room, INDEX):
        path = INDEX + b"/" + name
        if _is_orphan_index(room, path):
            yield _orphan(path, "index", "the file that it stands for has no name any more")


def _names(room: Stopped, path: bytes) -> list[bytes]:
    """Return what is in a directory of the work directory; the kernel makes them closed even to their owner."""
    try:
        return room.work.names(path)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except PermissionError:
        os.chmod(path, 0o700, dir_fd=room.work.fd)
        return room.work.names(path)


def _features(room: Stopped, path: bytes) -> Iterator[Finding]:
    for name in _names(room, path):
        inner = path + b"/" + name
        if name == MERGING:
            continue  # `Stopped` tells of it
        if name == _VOLATILE:
            why = "what was written is on disk now as far as it can be"
            text = "it was mounted volatile: some of what was written may be lost, and it cannot be mounted"
            yield Finding(inner, "unmountable", text, (Sync(), Remove(inner, why, work=True)), work=True)
        else:
            yield Finding(inner, "unmountable", "an unknown feature, with which it cannot be mounted", (), work=True)


def _is_orphan_index(room: Stopped, path: bytes) -> bool:
    """Tell whether no name is left of an indexed file, by the rule with which the kernel cleans its index."""
    st = room.work.stat(path)
    added = raw_marks(room.work, path).get((room.space.encode(), b"nlink"), b"")
    return st.st_nlink == 1 and added == b"U-1"


def _orphan(path: bytes, kind: str, text: str) -> Finding:
    return Finding(path, kind, text, (Remove(path, text, work=True),), work=True)
