"""Lending large files of layers to the kernel, which then reads them itself (FUSE_PASSTHROUGH, Linux 6.9).

It needs CAP_SYS_ADMIN in the first user namespace and an answer to each OPEN, with which the kernel asks at every open
and close of all files: worth it where what is read is large, so it has to be asked for. While a file is lent the kernel
refuses every opening of it that is not, so nobody could write to it, and only unions without an upper lend
(Documentation/filesystems/fuse/fuse-passthrough.rst).
"""

from __future__ import annotations

import errno
import os
import threading

from lamina.linux import fuse as device
from lamina.overlay.fuse import wire
from lamina.overlay.fuse.files import Files
from lamina.overlay.union.branch import DT_REG
from lamina.overlay.union.node import Node
from lamina.overlay.union.tree import Tree, failed

#: Smaller files are read through the server: at most one request.
SMALLEST = 1 << 20


class _Open:
    """A large file while it is open: how many times, and the kernel's id of what it was lent, or 0."""

    __slots__ = ("backing", "times")

    def __init__(self, backing: int) -> None:
        self.backing = backing
        self.times = 0


class Lending:
    """Answers OPEN and RELEASE for the connection `fd`. The handle of a large file is its node id."""

    def __init__(self, fd: int, tree: Tree, files: Files) -> None:
        self._fd = fd
        self._tree = tree
        self._files = files
        self._lock = threading.Lock()
        self._open: dict[int, _Open] = {}

    def open(self, node: Node, flags: int) -> bytes:
        """Return the answer to an OPEN of `node` with `flags` of open(2); EROFS for writing."""
        if node.kind != DT_REG:
            return wire.OPEN_OUT.pack(0, 0, 0)
        if flags & os.O_ACCMODE != os.O_RDONLY:
            raise failed(errno.EROFS, node.name)
        if self._tree.stat(node).st_size < SMALLEST:
            return wire.OPEN_OUT.pack(0, wire.FOPEN_KEEP_CACHE, 0)
        with self._lock:
            found = self._open.get(node.id)
            if found is None:
                found = self._open[node.id] = _Open(self._lend(node))
            found.times += 1
            how = wire.FOPEN_PASSTHROUGH if found.backing else wire.FOPEN_KEEP_CACHE
            return wire.OPEN_OUT.pack(node.id, how, found.backing)

    def _lend(self, node: Node) -> int:
        """Give the kernel the file; 0 where it takes none of this file system (one that is stacked itself)."""
        file = self._files.reading(node)
        try:
            return device.backing_open(self._fd, file.fd)
        except OSError:
            return 0

    def release(self, handle: int) -> None:
        """Note that what `open` answered was closed."""
        if not handle:
            return
        with self._lock:
            found = self._open[handle]
            found.times -= 1
            if not found.times:
                del self._open[handle]
                if found.backing:
                    device.backing_close(self._fd, found.backing)
