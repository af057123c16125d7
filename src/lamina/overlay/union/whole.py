"""What a union does to whole trees: walking, making and removing them, and telling what the upper changes.

All of it goes from node to node in loops, since a tree may be deeper than Python's stack, and its paths longer than the
kernel takes.
"""

from __future__ import annotations

import errno
import fnmatch
import os
from collections.abc import Callable, Iterator
from typing import Any

from lamina.overlay.format import META_PREFIX
from lamina.overlay.union.branch import DT_DIR, join
from lamina.overlay.union.change import Change
from lamina.overlay.union.make import Spec
from lamina.overlay.union.node import UPPER, Directory, Found, Node
from lamina.overlay.union.tree import Tree, failed
from lamina.overlay.union.write import Writer

Walked = tuple[Any, list[Any], list[Any]]


def walk(
    tree: Tree, top: Directory, path: str | bytes, *, topdown: bool, onerror: Callable[[OSError], object] | None
) -> Iterator[Walked]:
    """Yield (path, directories, others) of `top` and each directory below it, as os.walk."""
    decode: Callable[[bytes], Any] = bytes if isinstance(path, bytes) else os.fsdecode
    pending: list[tuple[Any, Directory, bytes] | Walked] = []
    here: Directory | None = top
    while True:
        if here is not None:
            try:
                entries = [(decode(name), found.kind) for name, found in tree.readable(here).entries()]
            except OSError as error:
                if onerror is not None:
                    onerror(error)
            else:
                directories = [name for name, kind in entries if kind == DT_DIR]
                walked = path, directories, [name for name, kind in entries if kind != DT_DIR]
                if topdown:
                    yield walked  # whoever takes it may take names out of the list, or sort it
                else:
                    pending.append(walked)
                pending += [(path, here, os.fsencode(name)) for name in reversed(directories)]
        if not pending:
            return
        last = pending.pop()
        if isinstance(last[1], list):
            yield last
            here = None
            continue
        above, parent, raw = last
        path = os.path.join(above, decode(raw))
        node = tree.find(parent, raw)
        here = node if isinstance(node, Directory) else None
        if node is None and onerror is not None:
            onerror(failed(errno.ENOENT, raw))


def glob(tree: Tree, pattern: str) -> Iterator[str]:
    """Yield the paths from the root that match, each once, in the order of the names (`Union.glob`)."""
    parts = [part for part in os.fsencode(pattern).split(b"/") if part not in (b"", b".")]
    if not parts:
        raise ValueError(f"unacceptable pattern: {pattern!r}")
    seen = set()
    pending: list[tuple[Directory, bytes, list[bytes]]] = [(tree.root, b"", parts)]
    while pending:
        directory, path, (part, *rest) = pending.pop()
        if part == b"**" and not rest:
            part, rest = b"*", [b"**"]  # all that is below
        elif part == b"**":
            pending.append((directory, path, rest))
        deeper = []
        for name, found in sorted(tree.readable(directory).entries(), key=lambda entry: entry[0]):
            if part != b"**" and not fnmatch.fnmatchcase(name, part):
                continue
            here = join(path, name)
            if part != b"**" and (not rest or rest == [b"**"]) and here not in seen:
                seen.add(here)
                yield os.fsdecode(here)
            after = [part, *rest] if part == b"**" else rest
            if after and found.kind == DT_DIR:
                below = tree.lookup(directory, name)
                assert isinstance(below, Directory)
                deeper.append((below, here, after))
        pending += reversed(deeper)


def make_directories(writer: Writer, top: Directory, names: list[bytes], mode: int) -> None:
    """Make the directories `names`, each in the one before it, below `top`; `mode` is the last one's."""
    here = top
    for at, name in enumerate(names):
        if name == b"..":
            here = here.parent or here
        elif name != b".":
            made, _ = writer.make(here, name, Spec(0o040000 | (mode if at == len(names) - 1 else 0o777)))
            assert isinstance(made, Directory), "it was made as one"
            here = made


def remove_tree(tree: Tree, writer: Writer, top: Directory) -> None:
    """Remove all that is in `top`, one entry after the other, and `top` itself unless it is the root."""
    pending = [(top, tree.listing(top).names())]
    while pending:
        directory, names = pending[-1]
        if names:
            name = names.pop()
            node = tree.lookup(directory, name)
            if isinstance(node, Directory):
                pending.append((node, tree.listing(node).names()))
            else:
                writer.unlink(directory, name)
            continue
        pending.pop()
        if directory.parent is not None:
            writer.rmdir(directory.parent, directory.name)


def changes(tree: Tree) -> Iterator[Change]:
    """Yield what the upper makes differ from the layers, sorted by path (`Union.changes`)."""
    levels = [_changes_in(tree, tree.root, b"")]
    while levels:
        found = next(levels[-1], None)
        if found is None:
            levels.pop()
        elif isinstance(found, Change):
            yield found
        else:
            levels.append(_changes_in(tree, *found))


def _changes_in(tree: Tree, directory: Directory, path: bytes) -> Iterator[Change | tuple[Directory, bytes]]:
    """Yield the changes of one directory's names, and behind each that is a directory itself, where to go on."""
    listing = tree.listing(directory)
    hidden = {name for name in listing.whiteouts if name in listing.covered and name not in listing}
    shown = {name: found for name, found in listing.entries() if _rank(found) == UPPER}
    for name in sorted(hidden | shown.keys()):
        here = join(path, name)
        if name in hidden:
            yield Change("D", here)
            continue
        yield Change("C" if name in listing.covered else "A", here)
        if shown[name].kind == DT_DIR and not name.startswith(META_PREFIX):
            below = tree.lookup(directory, name)
            assert isinstance(below, Directory)
            yield below, here


def _rank(found: Found | Node) -> int:
    return found.rank if isinstance(found, Node) else found.ranks[0]
