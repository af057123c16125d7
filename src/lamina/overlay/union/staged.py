"""A file of the union that is written without a name and then gets it at once, in place of what has it."""

from __future__ import annotations

import os
import stat

from lamina.overlay.union.make import Spec
from lamina.overlay.union.node import Directory
from lamina.overlay.union.tree import Tree
from lamina.overlay.union.write import Writer


class Staged:
    """An empty file for the name `name` of the directory `parent`, open as `fd`, which is the caller's.

    Until `publish` nobody sees it, and if the descriptor is closed without, nothing is left of it.
    """

    def __init__(self, tree: Tree, writer: Writer, parent: Directory, name: bytes, mode: int) -> None:
        self._tree = tree
        self._writer = writer
        self._parent = parent
        self._name = name
        self._node, _ = writer.make_nameless(parent, Spec(stat.S_IFREG | mode))
        self.fd = tree.open(self._node, os.O_RDWR)

    def publish(self) -> None:
        """Give the file its name; once. ENOENT where the directory was removed."""
        with self._tree.lock:
            if self._tree.find(self._parent, self._name) is None:
                self._writer.link(self._node, self._parent, self._name)
                return
            # link(2) replaces nothing, but rename(2) does.
            temp = b".lamina-staged-%d" % id(self)
            self._writer.link(self._node, self._parent, temp)
            self._writer.rename(self._parent, temp, self._parent, self._name)
