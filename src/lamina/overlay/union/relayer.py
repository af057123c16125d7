"""Other lower layers under a tree in use: what is known of the old ones is looked at again, name by name.

A name that shows the same entry of the same layer as before, or one of the upper, keeps its node. The file behind any
other name stays readable for whoever has it open, by a descriptor; a directory behind it is a removed one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress

from lamina.overlay.union import merge
from lamina.overlay.union.branch import DT_DIR, DT_REG, join
from lamina.overlay.union.lower import Lower
from lamina.overlay.union.node import UPPER, Directory, Found, Node, Pin
from lamina.overlay.union.opening import Layer, open_lower
from lamina.overlay.union.tree import Tree

#: A child as it was before: its name, its node, and where a lower file was.
_Child = tuple[bytes, Node, tuple[Lower, bytes] | None]


def relayer(
    tree: Tree, layers: Sequence[Layer], *, kept: Callable[[Node], bool]
) -> list[tuple[Directory, list[bytes]]]:
    """Put `layers`, base first, in place of the tree's lower layers; what is in both stays open.

    Returns the directories that were looked at again, each with the names that show something else than before.
    `kept` tells whether somebody may still use a node. OSError where a layer cannot be opened: nothing has changed.
    """
    with tree.lock:
        old = dict(zip(tree.layers, tree.branches, strict=True))
        branches: list[Lower] = []
        try:
            for index, layer in enumerate(layers):
                branches.append(old.get(layer) or open_lower(layer, index, tree.owners, branches))
        except BaseException:
            for branch in branches:
                if branch not in tree.branches:
                    branch.close()
            raise
        again = _Again(tree, kept)
        children = again.children(tree.root)
        with tree.moves:
            tree.moves.count += 2
            tree.replace_layers(list(layers), branches)
            again.look(tree.root, children)
        return again.changed


class _Again:
    """One look at all that is known of a tree."""

    def __init__(self, tree: Tree, kept: Callable[[Node], bool]) -> None:
        self._tree = tree
        self._kept = kept
        self.changed: list[tuple[Directory, list[bytes]]] = []

    def children(self, directory: Directory) -> list[_Child]:
        """Return the known children of a directory, while the old layers count."""
        if directory.listing is None:
            return []
        found: list[_Child] = []
        for name, node in directory.listing.entries():
            if isinstance(node, Node):
                rank = _rank(node, directory, name)
                lower = node.kind != DT_DIR and rank != UPPER
                place = directory.lowers[rank] if lower else None
                found.append((name, node, (place.branch, join(place.path, name)) if place else None))
        return found

    def look(self, directory: Directory, children: list[_Child]) -> None:
        """List a directory anew, whose own places are right already, and what is known below it."""
        if directory.listing is None:
            return
        before = set(directory.listing.names())
        directory.listing = None
        listing = self._tree.listing(directory)
        other = before ^ set(listing.names())
        for name, node, place in children:
            found = listing.get(name)
            if isinstance(found, Found) and self._is_same(directory, name, node, place, found):
                listing.put(name, node)
            else:
                other.add(name)
                self._let_go(node, place)
        self.changed.append((directory, sorted(other)))

    def _is_same(
        self, directory: Directory, name: bytes, node: Node, place: tuple[Lower, bytes] | None, found: Found
    ) -> bool:
        """Tell whether the name shows the node still; if so, the node is brought up to date."""
        if isinstance(node, Directory):
            if found.kind == DT_DIR:
                self._merge(directory, name, node, found)
            return found.kind == DT_DIR
        rank = found.ranks[0]
        if place is None:
            if node.data is not None:
                self._find_data(node, directory)
            return rank == UPPER
        if rank == UPPER:
            return False
        now = directory.lowers[rank]
        if (now.branch, join(now.path, name)) != place:
            return False
        if (node.parent, node.name) == (directory, name):
            node.rank = rank
        else:
            node.others = tuple(
                (*other[:2], rank) if other[:2] == (directory, name) else other for other in node.others
            )
        return True

    def _merge(self, parent: Directory, name: bytes, node: Directory, found: Found) -> None:
        children = self.children(node)
        tree = self._tree
        merged = merge.merge_directory(
            tree.upper_place(parent), parent.lowers, found, name, origin=parent.origin, roots=tree.roots
        )
        node.lowers, node.ranks, node.rank, node.origin = merged.lowers, found.ranks, found.ranks[0], merged.origin
        if merged.upper:
            node.opacity, node.impure = merged.upper.opacity, merged.upper.impure
        self.look(node, children)

    def _find_data(self, node: Node, directory: Directory) -> None:
        branch, path = self._tree.where(node)
        with suppress(OSError):  # nowhere any more: reading says so, as the old place is closed
            node.data = merge.find_data(branch, path, directory.lowers, self._tree.roots)

    def _let_go(self, node: Node, place: tuple[Lower, bytes] | None) -> None:
        if isinstance(node, Directory):
            children = self.children(node)
            node.dead = self._tree.stat_now(node)
            node.listing = None
            for _, child, where in children:
                self._let_go(child, where)
            return
        if node.pin is not None or place is None or not self._kept(node):
            return
        flags = os.O_RDONLY | os.O_NONBLOCK if node.kind == DT_REG else os.O_PATH
        with suppress(OSError):
            node.pin = Pin(place[0].open(place[1], flags))
        self._tree.unregister(node)
        node.gone = True


def _rank(node: Node, directory: Directory, name: bytes) -> int:
    if (node.parent, node.name) == (directory, name):
        return node.rank
    return next((rank for parent, other, rank in node.others if (parent, other) == (directory, name)), node.rank)
