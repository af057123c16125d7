"""Reading ahead of whoever goes through a tree: the next files of a directory, and the next directories.

Programs that walk use what a listing named in its order. Once its first was used, or two neighbours, those behind are
opened and their data asked for by a thread of its own: a disk is waited for while the program works on what it has.
"""

from __future__ import annotations

import os
import queue
import threading
from contextlib import suppress

from lamina.overlay.fuse.files import Files
from lamina.overlay.union.branch import DT_REG
from lamina.overlay.union.node import UPPER, Directory, Node
from lamina.overlay.union.tree import Tree

_FILES, _DIRECTORIES = 16, 4  # how many are prepared
_GAP = 4  # entries that a walk may leave out: those of another type
_WALKS = 256  # directories of which the last use is remembered
_DATA = 1 << 20  # bytes of each file that are asked for; the kernel reads ahead on its own behind them


class Ahead:
    """Watches what is read and listed. `close` when done."""

    def __init__(self, tree: Tree, files: Files) -> None:
        self._tree = tree
        self._files = files
        self._walks: dict[tuple[int, bool], tuple[int, int]] = {}  # the last used, and up to where is prepared
        self._queue: queue.SimpleQueue[list[Node] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def close(self) -> None:
        """End the thread."""
        self._queue.put(None)
        if self._thread is not None:
            self._thread.join()

    def used(self, node: Node) -> None:
        """Note that a file of a layer, or a directory, begins to be read."""
        parent = node.parent
        listing = None if parent is None else parent.listing
        if parent is None or listing is None:
            return
        at = listing.position(node.name)
        is_directory = isinstance(node, Directory)
        key = parent.ino, is_directory
        last, until = self._walks.get(key, (-1, 0))
        if not 0 < at - last <= _GAP:
            if len(self._walks) >= _WALKS:
                self._walks.clear()
            self._walks[key] = at, 0
            return
        length = _DIRECTORIES if is_directory else _FILES
        if until - at <= length // 2:
            nodes = listing.nodes(max(until, at + 1), at + 1 + length)
            until = at + 1 + length
            self._prepare([node for node in nodes if isinstance(node, Directory) is is_directory])
        self._walks[key] = at, until

    def _prepare(self, nodes: list[Node]) -> None:
        if not nodes:
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="ahead", daemon=True)
            self._thread.start()
        self._queue.put(nodes)

    def _work(self) -> None:
        while (nodes := self._queue.get()) is not None:
            for node in nodes:
                with suppress(OSError):  # whoever asks for it will be told
                    self._one(node)

    def _one(self, node: Node) -> None:
        if isinstance(node, Directory):
            if node.listing is None:
                self._tree.listing(node)
        elif node.kind == DT_REG and node.rank != UPPER and node.id > 0 and not self._files.has(node):
            file = self._files.reading(node)
            os.posix_fadvise(file.fd, 0, _DATA, os.POSIX_FADV_WILLNEED)
