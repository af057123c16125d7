"""What listing a directory of the union gives."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Any

from lamina.overlay.union.branch import DT_DIR, DT_LNK, DT_REG
from lamina.overlay.union.node import Directory, Node

if TYPE_CHECKING:
    from lamina.overlay.union.union import Union


class Entry:
    """An entry of a directory of the union, like os.DirEntry; its name is text or bytes as the path asked for."""

    __slots__ = ("_directory", "_kind", "_raw", "_top", "_union")

    def __init__(self, union: Union, directory: Directory, raw: bytes, kind: int, top: str | bytes) -> None:
        self._union = union
        self._directory = directory
        self._raw = raw
        self._kind = kind
        self._top = top

    @property
    def name(self) -> Any:
        """The name in its directory."""
        return self._raw if isinstance(self._top, bytes) else os.fsdecode(self._raw)

    @property
    def path(self) -> Any:
        """The path: what the directory was asked for by, and the name."""
        return os.path.join(self._top, self.name)

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
        return self._union.stat(self.path, follow_symlinks=follow_symlinks)

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
        return self._union.origin(self.path)

    def _is(self, kind: int, follow: bool) -> bool:
        if self._kind != DT_LNK or not follow:
            return self._kind == kind
        try:
            return stat.S_IFMT(self.stat().st_mode) >> 12 == kind
        except OSError:
            return False

    def _node(self) -> Node:
        return self._union.tree.lookup(self._directory, self._raw)
