"""Flatten: the upper no longer needs redirects and metacopies, so that every kernel mount can show it.

A renamed directory of the layers is copied up with all that is in it and made opaque; a file that holds metadata alone
gets its data. Each step leaves an upper that shows the same, so that flattening can be cut short at any point and
called again.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from lamina.errors import InvalidInput, shown
from lamina.linux.files import copy_data
from lamina.overlay import format as marks
from lamina.overlay.union import merge
from lamina.overlay.union.branch import DT_DIR, DT_REG, join
from lamina.overlay.union.copy_up import CopyUp
from lamina.overlay.union.detach import detach
from lamina.overlay.union.node import UPPER, Directory, Found, Node, Place
from lamina.overlay.union.numbers import Numbers
from lamina.overlay.union.tree import Tree
from lamina.overlay.union.upper import INDEX, Upper
from lamina.overlay.upper.compare import Spot
from lamina.overlay.upper.folders import Folder, folders
from lamina.overlay.upper.steps import DropAttribute, Step
from lamina.overlay.upper.stopped import Stopped, raw_marks
from lamina.overlay.upper.vacuum import data_of, is_metacopy


@dataclass(frozen=True, slots=True)
class TakeData:
    """A file of the upper, or of the index, that holds metadata alone gets its data: `source` of the layer `layer`."""

    path: bytes
    layer: int
    source: bytes
    size: int
    index: bool = False

    def describe(self) -> str:
        return f"copy {self.size} bytes into {shown(self.path)}: the upper has its metadata alone"

    def do(self, room: Stopped) -> None:
        branch = room.work if self.index else room.upper
        if not is_metacopy(branch, self.path):
            return
        st = branch.stat(self.path)
        source = room.layers[self.layer].open(self.source, os.O_RDONLY)
        try:
            # In place, as the kernel does: all names of the file see it. Until the mark is gone the old data count.
            fd = branch.open(self.path, os.O_RDWR)
            try:
                kept = _capability(fd)
                copy_data(source, fd)
                os.ftruncate(fd, st.st_size)
                if kept is not None:
                    os.setxattr(fd, _CAPABILITY, kept)
                if stat.S_IMODE(os.fstat(fd).st_mode) != stat.S_IMODE(st.st_mode):
                    os.fchmod(fd, stat.S_IMODE(st.st_mode))
                os.utime(fd, ns=(st.st_atime_ns, st.st_mtime_ns))
                os.fsync(fd)
                os.removexattr(fd, f"{room.space}metacopy")
            finally:
                os.close(fd)
        finally:
            os.close(source)


_CAPABILITY = "security.capability"


def _capability(fd: int) -> bytes | None:
    """Return the file's capabilities, which every write takes away."""
    try:
        return os.getxattr(fd, _CAPABILITY)
    except OSError:
        return None


@dataclass(frozen=True, slots=True)
class Detach:
    """A directory of the upper that shows `source` of the layers gets all of it, in `entries` and `size` bytes."""

    path: bytes
    source: bytes
    entries: int
    size: int

    def describe(self) -> str:
        if not self.source:  # an interrupted flattening got as far as the last mark
            return f"forget where {shown(self.path)} was: it is opaque"
        return (
            f"copy {self.entries} entries, {self.size} bytes, into {shown(self.path)}, which was {shown(self.source)}"
        )

    def do(self, room: Stopped) -> None:
        with _engine(room) as (tree, upper, copy_up):
            node = _find(tree, self.path)
            if isinstance(node, Directory) and node.rank == UPPER:
                detach(tree, upper=upper, copy_up=copy_up, top=node)


@dataclass(frozen=True, slots=True)
class JoinNames:
    """Names of a file that was copied up by another of its names are brought up, `count` of them."""

    count: int

    def describe(self) -> str:
        return f"bring up {self.count} more names of files that have several"

    def do(self, room: Stopped) -> None:
        with _engine(room) as (tree, _, copy_up):
            pending = [tree.root]
            while pending:
                directory = pending.pop()
                for name in tree.listing(directory).names():
                    node = tree.lookup(directory, name)
                    if isinstance(node, Directory):
                        pending.append(node)
                    elif node.index:
                        copy_up.name(node, directory, name)


def plan_flatten(room: Stopped) -> list[Step]:
    """Return what has to be copied up. InvalidInput where `check` would find a mark that leads nowhere."""
    plan: list[Step] = []
    tops: list[bytes] = []
    files: set[tuple[int, int]] = set()
    for folder in folders(room):
        if folder.trouble:
            raise InvalidInput("flatten", shown(folder.path), folder.trouble, "lamina upper check --repair …")
        plan += _metacopies(room, folder, files)
        inside = any(folder.path.startswith(top + b"/") for top in tops[-1:])
        if folder.redirect and not inside:
            tops.append(folder.path)
            entries, size = _to_copy(room, folder)
            source = folder.merged[0].path if folder.merged else b""
            plan.append(Detach(folder.path, source, entries, size))
    plan += _indexed_metacopies(room, files)
    plan.sort(key=lambda step: isinstance(step, Detach))  # data first: directories are copied by the union itself
    if (room.space.encode(), marks.REDIRECTS) in raw_marks(room.upper, b""):
        name = f"{room.space}{marks.REDIRECTS.decode()}"
        plan.append(DropAttribute(b"", name, "nothing in it is redirected any more"))
    return plan


def _metacopies(room: Stopped, folder: Folder, files: set[tuple[int, int]]) -> Iterator[Step]:
    for name, kind in sorted(folder.scan.entries.items()):
        path = join(folder.path, name)
        if kind != DT_REG or not is_metacopy(room.upper, path):
            continue
        st = room.upper.stat(path)
        if (st.st_dev, st.st_ino) in files:
            continue
        files.add((st.st_dev, st.st_ino))
        try:
            branch, source = data_of((room.upper, path), folder, room)
        except OSError as error:
            hint = "lamina upper check … lists all"
            raise InvalidInput("flatten", shown(path), "its data are in no layer", hint) from error
        yield TakeData(path, branch.index, source, st.st_size)


def _indexed_metacopies(room: Stopped, files: set[tuple[int, int]]) -> Iterator[Step]:
    """Find files that the upper has in its index alone: their names were removed, but for some in the layers."""
    for name in index_names(room):
        path = join(INDEX, name)
        st = room.work.stat(path)
        if stat.S_ISREG(st.st_mode) and (st.st_dev, st.st_ino) not in files and is_metacopy(room.work, path):
            branch, source = _origin(room, name)
            yield TakeData(path, branch.index, source, st.st_size, index=True)


def _origin(room: Stopped, index: bytes) -> Spot:
    """Return the file of the layers that an index is of."""
    numbers = Numbers([*room.layers, room.upper])
    for branch in reversed(room.layers):
        pending = [b""]
        while pending:
            path = pending.pop()
            for name, kind in branch.scan(path, b"").entries.items():
                inner = join(path, name)
                if kind == DT_DIR:
                    pending.append(inner)
                elif kind == DT_REG and numbers.origin(branch, inner).hex().encode() == index:
                    return branch, inner
    raise InvalidInput("flatten", f"work/index/{shown(index)}", "its data are in no layer")


def index_names(room: Stopped) -> list[bytes]:
    """Return what is in the index of the work directory."""
    try:
        return room.work.names(INDEX)
    except (FileNotFoundError, PermissionError):
        return []


def _to_copy(room: Stopped, top: Folder) -> tuple[int, int]:
    """Return how many entries of the layers show in a directory, and their bytes."""
    entries = size = 0
    for folder in folders(room, top):
        own = folder.scan.entries.keys() | folder.scan.whiteouts.keys()
        for name, found in folder.below().entries():
            if name not in own and isinstance(found, Found):
                more = _lower_tree(room, folder.merged, name, found)
                entries, size = entries + more[0], size + more[1]
    return entries, size


def _lower_tree(room: Stopped, places: list[Place], name: bytes, found: Found) -> tuple[int, int]:
    entries = size = 0
    pending = [(places, name, found)]
    while pending:
        places, name, found = pending.pop()
        entries += 1
        if found.kind == DT_REG:
            place = places[found.ranks[0]]
            size += place.branch.stat(join(place.path, name)).st_size
        elif found.kind == DT_DIR:
            inner = merge.merge_directory(None, places, found, name, origin=None, roots=room.roots).lowers
            listing = merge.list_places(None, inner)
            pending += [(inner, below, what) for below, what in listing.entries() if isinstance(what, Found)]
    return entries, size


def plan_names(room: Stopped) -> list[Step]:
    """Return how names are brought up that a file of the upper has in the layers alone (index=on)."""
    missing = 0
    for name in index_names(room):
        path = INDEX + b"/" + name
        added = raw_marks(room.work, path).get((room.space.encode(), b"nlink"), b"")
        with suppress(ValueError):
            missing += max(int(added[1:]) + 1, 0) if added.startswith(b"U") else 0
    return [JoinNames(missing)] if missing else []


@contextmanager
def _engine(room: Stopped) -> Iterator[tuple[Tree, Upper, CopyUp]]:
    """Open the union's engine over a stopped upper."""
    upper = room.open_upper()
    try:
        tree = Tree(list(room.overlay.layers), upper)
        try:
            yield tree, upper, CopyUp(tree, upper)
        finally:
            tree.close()
    finally:
        upper.close()


def _find(tree: Tree, path: bytes) -> Node | None:
    node: Node | None = tree.root
    for name in path.split(b"/"):
        if not isinstance(node, Directory):
            return None
        node = tree.find(node, name)
    return node
