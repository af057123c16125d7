"""The tree by nodes, as a server uses it: what is read while names go and come."""

from __future__ import annotations

import stat
import threading
from pathlib import Path

from lamina.overlay.union.make import Spec
from lamina.overlay.union.tree import Tree
from lamina.overlay.union.upper import Upper
from lamina.overlay.union.write import Writer


def test_a_node_is_never_what_took_its_name(scratch: Path) -> None:
    for folder in ("lower", "upper", "work"):
        (scratch / folder).mkdir()
    for number in range(150):
        (scratch / f"lower/file{number}").write_text("x")
    upper = Upper(str(scratch / "upper"), str(scratch / "work"), 1, userxattr=None, sync=False)
    tree = Tree([str(scratch / "lower")], upper)
    writer = Writer(tree, upper, kept=lambda _: True)
    watched = [tree.lookup(tree.root, b"file0")]
    ended = threading.Event()
    wrong: list[object] = []

    def watch() -> None:
        while not ended.is_set():
            node = watched[0]
            st = tree.stat(node)
            if not stat.S_ISREG(st.st_mode) or tree.nlink(node, st) > 1:
                wrong.append(st)

    watchers = [threading.Thread(target=watch) for _ in range(2)]
    for watcher in watchers:
        watcher.start()
    try:
        for number in range(150):
            name = b"file%d" % number
            node = watched[0] = tree.lookup(tree.root, name)
            if number % 3:
                writer.copy_up.node(node)
            if number % 2:
                writer.unlink(tree.root, name)
            else:
                writer.make(tree.root, b"other%d" % number, Spec(stat.S_IFIFO | 0o600))
                writer.rename(tree.root, b"other%d" % number, tree.root, name)
            if number % 2:
                writer.make(tree.root, name, Spec(stat.S_IFDIR | 0o755))
    finally:
        ended.set()
        for watcher in watchers:
            watcher.join()
        tree.close()
        upper.close()
    assert wrong == []
