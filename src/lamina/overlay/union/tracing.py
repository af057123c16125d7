"""A log of what was looked up, read and written in a union, each name once (docs/formats/trace.md).

It costs nothing where it is off: the tree and what changes it are then of other classes. `tree_for`, `writer_of` and
`attributes_of` choose.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lamina.overlay.union.attributes import Attributes
from lamina.overlay.union.make import Spec
from lamina.overlay.union.node import Directory, Listing, Node, Pin
from lamina.overlay.union.owners import Owners
from lamina.overlay.union.tree import Tree
from lamina.overlay.union.upper import Upper
from lamina.overlay.union.write import Writer

if TYPE_CHECKING:
    from lamina.overlay.union.opening import Layer

TITLE = b"lamina trace 1\n"
FOUND, ABSENT, READ, LISTED, WRITTEN = b"L", b"N", b"R", b"D", b"W"

_PLAIN = frozenset(range(0x21, 0x7F)) - {0x5C}


class Trace:
    """The log in a new file `path`; OSError where it cannot be written. Lines are whole, whoever reads meanwhile."""

    def __init__(self, path: str) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o666)
        self._seen: set[tuple[bytes, bytes]] = set()
        self._lock = threading.Lock()
        os.write(self._fd, TITLE)

    def note(self, what: bytes, path: bytes) -> None:
        """Add a line, unless it is there already."""
        key = what, path
        if key in self._seen:
            return
        with self._lock:
            if key not in self._seen and self._fd >= 0:
                self._seen.add(key)
                os.write(self._fd, b"%b /%b\n" % (what, quote(path)))

    def node(self, what: bytes, node: Node) -> None:
        """Add a line about a node, by one of its names; one that has none has no line."""
        if node.parent is None or (node.name and node.pin is None):
            self.note(what, node.upper_path())

    def close(self) -> None:
        """Close the file; what comes after is not noted."""
        with self._lock:
            fd, self._fd = self._fd, -1
        os.close(fd)


def quote(path: bytes) -> bytes:
    r"""Return a path in one printable word: other bytes, the blank and the backslash stand as `\xNN`."""
    if _PLAIN.issuperset(path):
        return path
    return b"".join(bytes((byte,)) if byte in _PLAIN else b"\\x%02x" % byte for byte in path)


class TracedTree(Tree):
    """A tree whose uses are noted. With `walks` names are looked up by `find`, and else by `find_state` alone."""

    def __init__(
        self, layers: Sequence[Layer], upper: Upper | None, *, owners: Owners | None, trace: Trace, walks: bool
    ) -> None:
        super().__init__(layers, upper, owners=owners)
        self.trace = trace
        self._walks = walks

    def find(self, directory: Directory, name: bytes) -> Node | None:
        node = super().find(directory, name)
        if self._walks:
            self._looked_up(directory, name, found=node is not None)
        return node

    def find_state(self, directory: Directory, name: bytes) -> tuple[Node, os.stat_result] | None:
        result = super().find_state(directory, name)
        self._looked_up(directory, name, found=result is not None)
        return result

    def _looked_up(self, directory: Directory, name: bytes, *, found: bool) -> None:
        path = directory.upper_path()
        self.trace.note(FOUND if found else ABSENT, path + b"/" + name if path else name)

    def readable(self, directory: Directory) -> Listing:
        self.trace.node(LISTED, directory)
        return super().readable(directory)

    def open(self, node: Node, flags: int) -> int:
        if self._walks:
            self.opened(node, flags)
        elif flags & os.O_ACCMODE != os.O_RDONLY:  # a server reads on its own account, and its opens are noted
            self.trace.node(WRITTEN, node)
        return super().open(node, flags)

    def opened(self, node: Node, flags: int) -> None:
        """Note what a file was opened for."""
        access = flags & os.O_ACCMODE
        if access != os.O_WRONLY:
            self.trace.node(READ, node)
        if access != os.O_RDONLY or flags & os.O_TRUNC:
            self.trace.node(WRITTEN, node)

    def readlink(self, node: Node) -> bytes:
        self.trace.node(READ, node)
        return super().readlink(node)

    def close(self) -> None:
        super().close()
        if hasattr(self, "trace"):  # and not closed on the way to being made
            self.trace.close()


class TracedWriter(Writer):
    """A writer whose changes of names are noted."""

    __slots__ = ()

    def _wrote(self, parent: Directory, name: bytes) -> None:
        assert isinstance(self._tree, TracedTree), "made by writer_of"
        path = parent.upper_path()
        self._tree.trace.note(WRITTEN, path + b"/" + name if path else name)

    def make(self, parent: Directory, name: bytes, spec: Spec) -> tuple[Node, os.stat_result]:
        made = super().make(parent, name, spec)
        self._wrote(parent, name)
        return made

    def link(self, node: Node, parent: Directory, name: bytes) -> None:
        super().link(node, parent, name)
        self._wrote(parent, name)

    def unlink(self, parent: Directory, name: bytes) -> None:
        super().unlink(parent, name)
        self._wrote(parent, name)

    def rmdir(self, parent: Directory, name: bytes) -> None:
        super().rmdir(parent, name)
        self._wrote(parent, name)

    def rename(
        self, old_parent: Directory, old_name: bytes, new_parent: Directory, new_name: bytes, flags: int = 0
    ) -> None:
        super().rename(old_parent, old_name, new_parent, new_name, flags)
        self._wrote(old_parent, old_name)
        self._wrote(new_parent, new_name)


class TracedAttributes(Attributes):
    """Attributes whose changes are noted."""

    __slots__ = ()

    def _target(self, node: Node, *, size: int | None = None) -> tuple[int | None, bytes, Pin | None]:
        target = super()._target(node, size=size)
        assert isinstance(self._tree, TracedTree), "made by attributes_of"
        self._tree.trace.node(WRITTEN, node)
        return target


def tree_for(layers: Sequence[Layer], upper: Upper | None, *, owners: Owners, trace: str, walks: bool) -> Tree:
    """Return the tree of the layers, traced to the file `trace` unless that is empty."""
    if not trace:
        return Tree(layers, upper, owners=owners)
    log = Trace(trace)
    try:
        return TracedTree(layers, upper, owners=owners, trace=log, walks=walks)
    except BaseException:
        log.close()
        raise


def writer_of(tree: Tree) -> type[Writer]:
    """Return the class of what changes the names of the tree."""
    return TracedWriter if isinstance(tree, TracedTree) else Writer


def attributes_of(tree: Tree) -> type[Attributes]:
    """Return the class of what reads and changes the attributes of the tree."""
    return TracedAttributes if isinstance(tree, TracedTree) else Attributes
