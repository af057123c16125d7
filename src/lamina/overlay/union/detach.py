"""Detaching a directory from the layers below: the upper then holds all of it, and nothing shows through.

This is what a rename does where no redirect is wanted, and how an upper is made free of them.
"""

from __future__ import annotations

import os

from lamina.overlay.union.branch import join
from lamina.overlay.union.copy_up import CopyUp
from lamina.overlay.union.node import UPPER, Directory
from lamina.overlay.union.tree import Tree
from lamina.overlay.union.upper import Upper


def detach(tree: Tree, *, upper: Upper, copy_up: CopyUp, top: Directory) -> None:
    """Copy up all that the directory `top` shows, then make it opaque. The caller holds the tree's lock.

    At every moment the union shows the same: should it end in between, it can be called again.
    """
    directories = _bring_up(tree, copy_up, top)
    for node in directories:
        path = node.upper_path()
        if node is top or upper.get_mark(upper.branch, path, b"redirect") is not None:
            upper.set_mark(upper.branch, path, b"opaque", b"y")
            upper.remove_mark(upper.branch, path, b"redirect")
            node.opacity = b"y"
    for node in directories:
        _drop_whiteouts(tree, upper, copy_up, node)
        node.lowers, node.ranks, node.origin = [], [UPPER], None


def _bring_up(tree: Tree, copy_up: CopyUp, top: Directory) -> list[Directory]:
    """Copy up the directory and all in it; return the directories, each before those in it."""
    copy_up.node(top)
    found = [top]
    for directory in found:
        for name in tree.listing(directory).names():
            node = tree.lookup(directory, name)
            copy_up.name(node, directory, name)
            if isinstance(node, Directory):
                found.append(node)
            elif (again := tree.lookup(directory, name)) is not node:
                # The names of a lower file part where there is no index: this one is a file of its own now.
                copy_up.name(again, directory, name)
    return found


def _drop_whiteouts(tree: Tree, upper: Upper, copy_up: CopyUp, node: Directory) -> None:
    """Remove whiteouts that have nothing to hide: in an opaque directory the kernel lists them."""
    listing = tree.listing(node)
    listing.covered.clear()
    if not listing.whiteouts:
        return
    path = node.upper_path()
    times = upper.branch.stat(path)
    for entry in listing.whiteouts.values():
        with upper.branch.near(join(path, entry)) as (fd, name):
            os.unlink(name, dir_fd=fd)
    listing.whiteouts.clear()
    copy_up.restore_times(path, times)
