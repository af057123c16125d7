"""What listing a directory of the union gives."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from lamina.overlay.union.branch import DT_DIR, DT_LNK, DT_REG
from lamina.overlay.union.node import Directory, Node

if TYPE_CHECKING:
    from lamina.overlay.union.view import View

    #: What the entries of one listing share: the union, the directory, and what it was asked for by.
    Room = tuple[View, Directory, str | bytes]


class Entry:
    """An entry of a directory of the union, like os.DirEntry; its name is text or bytes as the path asked for."""

    __slots__ = ("_kind", "_raw", "_room")

    def __init__(self, room: Room, raw: bytes, kind: int) -> None:
        self._room = room
        self._raw = raw
        self._kind = kind

    @property
    def name(self) -> Any:
        """The name in its directory."""
        return self._raw if isinstance(self._room[2], bytes) else os.fsdecode(self._raw)

    @property
    def path(self) -> Any:
        """The path: what the directory was asked for by, and the name."""
        return os.path.join(self._room[2], self.name)

    def __fspath__(self) -> str | bytes:
        path: str | bytes = self.path
        return path

    def __repr__(self) -> str:
        return f"<Entry {self.name!r}>"

    def inode(self) -> int:
        """Return the inode number in the union."""
        return self._node().ino

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        """Return the state of the entry, or of what it links to."""
        if follow_symlinks and self._kind == DT_LNK:
            return self._room[0].stat(self.path)
        union, directory, _ = self._room
        found = union.tree.find_state(directory, self._raw)
        if found is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self.path)
        return union.state(*found)

    def is_symlink(self) -> bool:
        """Tell whether it is a symbolic link."""
        return self._kind == DT_LNK

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        """Tell whether it is a directory, or links to one."""
        return self._is(DT_DIR, follow_symlinks)

    def is_file(self, *, follow_symlinks: bool = True) -> bool:
        """Tell whether it is a regular file, or links to one."""
        return self._is(DT_REG, follow_symlinks)

    def origin(self) -> int:
        """Return the place of the layer that the entry comes from, base first; the upper's is the number of layers."""
        return self._room[0].origin(self.path)

    def _is(self, kind: int, follow: bool) -> bool:
        if self._kind != DT_LNK or not follow:
            return self._kind == kind
        try:
            return stat.S_IFMT(self.stat().st_mode) >> 12 == kind
        except OSError:
            return False

    def _node(self) -> Node:
        union, directory, _ = self._room
        return union.tree.lookup(directory, self._raw)


class Entries:
    """The entries of one listing, like what os.scandir returns: to be gone through once."""

    __slots__ = ("_entries", "_left")

    def __init__(self, entries: list[Entry]) -> None:
        self._entries = entries
        self._left = iter(entries)

    def __iter__(self) -> Iterator[Entry]:
        return self._left  # not this object, whose `__next__` would be a call more for each entry

    def __next__(self) -> Entry:
        return next(self._left)

    def __enter__(self) -> Entries:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Yield no more entries; may be repeated."""
        self._entries.clear()
