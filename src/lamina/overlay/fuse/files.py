"""Open files of a mount that opens nothing: a bounded cache of descriptors by node.

The kernel is told not to send OPEN, so it names a node alone when it reads or writes. A descriptor is opened at first
use and kept; the oldest are closed when there are too many. One that another thread just uses is closed by the last
reference to it.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Callable

from lamina.overlay.union.copy_up import CopyUp
from lamina.overlay.union.node import UPPER, Node
from lamina.overlay.union.tree import Tree, failed


class OpenFile:
    """A descriptor and what it was opened for; closed with its last reference."""

    __slots__ = ("fd", "upper", "writable")

    def __init__(self, fd: int, *, upper: bool, writable: bool) -> None:
        self.fd = fd
        self.upper = upper
        self.writable = writable

    def __del__(self) -> None:
        os.close(self.fd)


class Files:
    """At most `limit` open files of `tree`. Without `copy_up` opening for writing is EROFS."""

    def __init__(self, tree: Tree, copy_up: CopyUp | None, *, limit: int) -> None:
        self._tree = tree
        self._copy_up = copy_up
        self._limit = limit
        self._open: dict[int, OpenFile] = {}
        self._lock = threading.Lock()

    def reading(self, node: Node) -> OpenFile:
        """Return the file for reading; hold it while its descriptor is used."""
        file = self._open.get(node.id)
        # What was opened before a copy-up shows the old file.
        if file is not None and (file.upper or node.rank != UPPER):
            return file
        if node.rank != UPPER:
            # Should it be copied up meanwhile, the next reading opens the copy.
            return self._keep(node, OpenFile(_open_untouched(self._tree, node), upper=False, writable=False))
        with self._tree.lock:
            upper = node.data is None
            fd = _open_anyhow(self._tree, node, os.O_RDONLY)
            return self._keep(node, OpenFile(fd, upper=upper, writable=False))

    def writing(self, node: Node, *, size: int | None = None) -> OpenFile:
        """Return the file for writing, copied up first; with `size` only so much of its data is."""
        file = self._open.get(node.id)
        if file is not None and file.writable:
            return file
        if self._copy_up is None:
            raise failed(errno.EROFS, node.name)
        with self._tree.lock:
            self._copy_up.node(node, size=size, writing=True)
            fd = _open_anyhow(self._tree, node, os.O_RDWR)
            return self._keep(node, OpenFile(fd, upper=True, writable=True))

    def _keep(self, node: Node, file: OpenFile) -> OpenFile:
        with self._lock:
            self._open.pop(node.id, None)
            self._open[node.id] = file
            if len(self._open) > self._limit:
                for oldest in list(self._open)[: self._limit // 8]:
                    del self._open[oldest]
        return file

    def has(self, node: Node) -> bool:
        """Tell whether there is an open file of the node."""
        return node.id in self._open

    def drop(self, node_id: int) -> None:
        """Close the node's file as soon as nobody uses it; there may be none."""
        if node_id in self._open:  # of most nodes there is none
            with self._lock:
                self._open.pop(node_id, None)

    def clear(self) -> None:
        """Close all of them."""
        with self._lock:
            self._open.clear()


def read_into(fd: int, room: memoryview, offset: int, *, before_waiting: Callable[[], None]) -> int:
    """Fill `room` with what stands in the file from `offset` on; return how much that was, less at its end alone.

    Before the disk has to be waited for, `before_waiting` is called.
    """
    got = 0
    try:
        while got < len(room) and (more := os.preadv(fd, [room[got:]], offset + got, os.RWF_NOWAIT)):
            got += more
    except OSError as error:
        if error.errno == errno.EAGAIN:  # not all of it is in memory; some file systems cannot tell
            before_waiting()
        got += os.preadv(fd, [room[got:]], offset + got)
    return got


def _open_untouched(tree: Tree, node: Node) -> int:
    """Open a file of a layer for reading, without a new time of access if this process may: layers do not change."""
    try:
        return tree.open(node, os.O_RDONLY | os.O_NOATIME)
    except PermissionError:  # not its owner, or not its reader
        return tree.open(node, os.O_RDONLY)


def _open_anyhow(tree: Tree, node: Node, flags: int) -> int:
    """Open a file that the kernel has let its caller open, also where its mode closes it to a server that owns it.

    The mode was checked when the caller opened, which was before it changed, or before the file was made (0444 and
    O_WRONLY at once is allowed). A superuser's server needs none of this.
    """
    try:
        return tree.open(node, flags)
    except PermissionError:
        if node.rank != UPPER:
            raise
    if node.pin is not None:
        directory, path = None, b"/proc/self/fd/%d" % node.pin.fd
        return _open_with_mode(directory, path, flags)
    branch, path = tree.where_upper(node)
    with branch.near(path) as (directory, name):
        return _open_with_mode(directory, name, flags | os.O_NOFOLLOW)


def _open_with_mode(directory: int | None, path: bytes, flags: int) -> int:
    mode = stat.S_IMODE(os.stat(path, dir_fd=directory, follow_symlinks=directory is None).st_mode)
    os.chmod(path, mode | stat.S_IRUSR | stat.S_IWUSR, dir_fd=directory)
    try:
        return os.open(path, flags | os.O_CLOEXEC, dir_fd=directory)
    finally:
        os.chmod(path, mode, dir_fd=directory)
