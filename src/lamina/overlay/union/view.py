"""What a union shows by paths: states, kinds, listings, walks, links, and the layer that each name comes from."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from typing import Any

from lamina.overlay.union import whole
from lamina.overlay.union.branch import DT_DIR, DT_LNK, DT_REG, join
from lamina.overlay.union.entry import Entries, Entry
from lamina.overlay.union.node import UPPER, Directory, Node
from lamina.overlay.union.numbers import renumbered
from lamina.overlay.union.paths import Paths, StrPath
from lamina.overlay.union.tree import failed


class View(Paths):
    """The calls of `os` and `pathlib` that look at names and change nothing."""

    def stat(self, path: StrPath, *, follow_symlinks: bool = True) -> os.stat_result:
        """Return the state: as os.stat, with the inode number and the link count of the union."""
        node, st = self._look(path, follow=follow_symlinks)
        return self.state(node, st)

    def state(self, node: Node, st: os.stat_result | None = None) -> os.stat_result:
        """Return the state of a node as the union shows it; `st` is the real one if that was read."""
        tree = self.tree
        if st is None:
            st = tree.stat(node)
        if node.ino == st.st_ino and node.kind != DT_DIR and not node.index and not node.gone:
            return st  # of almost every file: as it is
        nlink = tree.nlink(node, st)
        return st if (node.ino, nlink) == (st.st_ino, st.st_nlink) else renumbered(st, node.ino, nlink)

    def lstat(self, path: StrPath) -> os.stat_result:
        """Return the state of the entry itself."""
        return self.stat(path, follow_symlinks=False)

    def exists(self, path: StrPath) -> bool:
        """Tell whether the path, or what it links to, exists."""
        return self._kind(path) is not None

    def lexists(self, path: StrPath) -> bool:
        """Tell whether the path exists, be it a broken link."""
        return self._kind(path, follow=False) is not None

    def is_dir(self, path: StrPath) -> bool:
        """Tell whether the path is a directory, or links to one."""
        return self._kind(path) == DT_DIR

    def is_file(self, path: StrPath) -> bool:
        """Tell whether the path is a regular file, or links to one."""
        return self._kind(path) == DT_REG

    def is_symlink(self, path: StrPath) -> bool:
        """Tell whether the path is a symbolic link."""
        return self._kind(path, follow=False) == DT_LNK

    def _kind(self, path: StrPath, *, follow: bool = True) -> int | None:
        try:
            return self._node(path, follow=follow).kind
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG):
                return None
            raise
        except ValueError:  # no path at all
            return None

    def listdir(self, path: StrPath = "/") -> list[Any]:
        """Return the names in a directory, in no particular order; bytes for a path of bytes."""
        names = self.tree.readable(self._directory(path)).names()
        return names if isinstance(os.fspath(path), bytes) else [os.fsdecode(name) for name in names]

    def scandir(self, path: StrPath = "/") -> Entries:
        """Yield the entries of a directory, as they are when it is called; `with` and `close` are accepted."""
        directory = self._directory(path)
        room = (self, directory, os.fspath(path))
        return Entries([Entry(room, name, found.kind) for name, found in self.tree.readable(directory).entries()])

    def _directory(self, path: StrPath) -> Directory:
        node = self._node(path)
        if not isinstance(node, Directory):
            raise failed(errno.ENOTDIR, os.fsencode(path))
        return node

    def walk(
        self, top: StrPath = "/", *, topdown: bool = True, onerror: Callable[[OSError], object] | None = None
    ) -> Iterator[tuple[Any, list[Any], list[Any]]]:
        """Yield (path, directories, others) of each directory below `top`, as os.walk; links are not followed."""
        try:
            directory = self._directory(top)
        except OSError as error:
            if onerror is not None:
                onerror(error)
            return
        yield from whole.walk(self.tree, directory, os.fspath(top), topdown=topdown, onerror=onerror)

    def glob(self, pattern: str) -> Iterator[str]:
        """Yield the paths that match, as Path.glob: `**` stands for directories of any depth; no link is followed."""
        return whole.glob(self.tree, pattern)

    def realpath(self, path: StrPath) -> Any:
        """Return the path without links and dots, from the root of the union; ENOENT where there is nothing."""
        node, name, parent = self._walk(path, follow=True)
        if node is None:
            raise failed(errno.ENOENT, os.fsencode(path))
        found = b"/" + (node.upper_path() if isinstance(node, Directory) else join(parent.upper_path(), name))
        return found if isinstance(os.fspath(path), bytes) else os.fsdecode(found)

    def samefile(self, path: StrPath, other: StrPath) -> bool:
        """Tell whether both are the same entry, as hard links of one file are."""
        return self._node(path) is self._node(other)

    def readlink(self, path: StrPath) -> Any:
        """Return the target of a symbolic link; EINVAL for anything else."""
        node = self._node(path, follow=False)
        if node.kind != DT_LNK:
            raise failed(errno.EINVAL, os.fsencode(path))
        target = self.tree.readlink(node)
        return target if isinstance(os.fspath(path), bytes) else os.fsdecode(target)

    def statvfs(self) -> os.statvfs_result:
        """Return the numbers of the file system that changes go to."""
        return self.tree.statvfs()

    # Where names come from.

    def origin(self, path: StrPath) -> int:
        """Return the place of the layer that the name comes from, base first; the upper's is the number of layers."""
        branch, _ = self.tree.where(self._node(path, follow=False))
        return branch.index

    def origins(self, path: StrPath = "/") -> dict[Any, int]:
        """Return for each name in a directory the place of the layer that it comes from."""
        directory = self._directory(path)
        as_bytes, top = isinstance(os.fspath(path), bytes), len(self.tree.branches)
        found = {}
        for name, where in self.tree.listing(directory).entries():
            if isinstance(where, Node):  # with several names perhaps, the others in other directories
                index = self.tree.where(where)[0].index
            else:
                index = top if where.ranks[0] == UPPER else directory.lowers[where.ranks[0]].branch.index
            found[name if as_bytes else os.fsdecode(name)] = index
        return found
