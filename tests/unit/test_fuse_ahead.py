"""Reading ahead opens what a walk comes to next, and nothing for who reads here and there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lamina.overlay.fuse.ahead import Ahead
from lamina.overlay.fuse.files import Files
from lamina.overlay.union.node import Directory, Node
from lamina.overlay.union.tree import Tree


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Tree]:
    for folder in range(10):
        (tmp_path / f"d{folder}").mkdir()
        for number in range(40):
            (tmp_path / f"d{folder}" / f"f{number}").write_text("data")
    tree = Tree([str(tmp_path)], None)
    yield tree
    tree.close()


def _children(tree: Tree, directory: Directory) -> list[Node]:
    """Look up all that is in the directory, as a listing with attributes does; in the order of the listing."""
    nodes = [tree.lookup(directory, name) for name in tree.listing(directory).names()]
    for node in nodes:
        node.id = node.ino
    return nodes


def _opened(tree: Tree, used: list[int]) -> list[int]:
    """Use files of one directory by their places; return the places of those that were opened ahead."""
    directory = tree.lookup(tree.root, b"d0")
    assert isinstance(directory, Directory)
    nodes = _children(tree, directory)
    files = Files(tree, None, limit=100)
    ahead = Ahead(tree, files)
    for place in used:
        ahead.used(nodes[place])
    ahead.close()  # once all is done
    opened = [place for place, node in enumerate(nodes) if files.has(node)]
    files.clear()
    return opened


def test_behind_the_first_file_the_next_are_opened(tree: Tree) -> None:
    assert _opened(tree, [0]) == list(range(1, 17))


def test_behind_two_neighbours_the_next_are_opened(tree: Tree) -> None:
    assert _opened(tree, [20, 21]) == list(range(22, 38))


def test_a_walk_stays_ahead_to_the_end(tree: Tree) -> None:
    assert _opened(tree, list(range(20))) == list(range(1, 35))


def test_who_reads_here_and_there_has_nothing_opened(tree: Tree) -> None:
    assert _opened(tree, [30, 10, 25, 5]) == []


def test_the_next_directories_are_listed(tree: Tree) -> None:
    directories = _children(tree, tree.root)
    ahead = Ahead(tree, Files(tree, None, limit=100))
    ahead.used(directories[0])
    ahead.close()
    listed = [place for place, node in enumerate(directories) if isinstance(node, Directory) and node.listing]
    assert listed == [1, 2, 3, 4]


def test_what_was_copied_up_is_left_alone(tree: Tree) -> None:
    directory = tree.lookup(tree.root, b"d0")
    assert isinstance(directory, Directory)
    nodes = _children(tree, directory)
    nodes[1].rank = -1
    files = Files(tree, None, limit=100)
    ahead = Ahead(tree, files)
    ahead.used(nodes[0])
    ahead.close()
    assert not files.has(nodes[1])
    assert files.has(nodes[2])
    files.clear()
