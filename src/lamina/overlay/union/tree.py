"""The merged tree, to be read: looking names up, listing directories, state, data and attributes of nodes.

Nodes are handed out for names and stay valid while their entry is moved, copied up or removed. Reading takes no lock
but to enter what was found; a reading that a rename may have led astray is made again with the lock (`steady`).
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TypeVar

from lamina.overlay.union import merge
from lamina.overlay.union.branch import DT_DIR, DT_REG, Branch, join
from lamina.overlay.union.lower import Lower
from lamina.overlay.union.node import UPPER, Directory, Found, Listing, Node, Place
from lamina.overlay.union.numbers import Numbers
from lamina.overlay.union.opening import Layer, open_lower
from lamina.overlay.union.owners import Owners
from lamina.overlay.union.upper import Upper

_Result = TypeVar("_Result")

#: Errors by which a path shows that a directory above it was moved meanwhile.
_MOVED = (FileNotFoundError, NotADirectoryError, IndexError)  # the last where its layers were exchanged


def failed(code: int, name: bytes = b"") -> OSError:
    """Return the OSError of an errno, about a name."""
    return OSError(code, os.strerror(code), os.fsdecode(name)) if name else OSError(code, os.strerror(code))


class Tree:
    """The union of `layers` (base first) and an upper, which stays the caller's. `close` when done.

    `lock` is held by whoever changes the tree, `moves` counts its renames.
    """

    def __init__(self, layers: Sequence[Layer], upper: Upper | None, *, owners: Owners | None = None) -> None:
        self.owners = owners or Owners()
        self.layers = list(layers)
        self.branches: list[Lower] = []
        self._retired: list[Lower] = []  # layers that were taken out: open, since a reader may be in one
        self.upper = upper
        self.lock: AbstractContextManager[object] = threading.RLock()
        self._by_key: dict[tuple[int, int, int], Node] = {}
        try:
            for index, layer in enumerate(layers):
                self.branches.append(open_lower(layer, index, self.owners, self.branches))
        except BaseException:
            self.close()
            raise
        self.numbers = Numbers([*self.branches, upper.branch] if upper else self.branches)
        self.roots = merge.root_places(self.branches)
        self.root = self._root()
        self.moves = self.root.moves

    def close(self) -> None:
        """Give the layers free; no node may be used afterwards."""
        for branch in (*self.branches, *self._retired):
            branch.close()
        self.branches = []
        self._retired = []

    def replace_layers(self, layers: list[Layer], branches: list[Lower]) -> None:
        """Take other lower layers. What is known of names is the caller's to put right (`relayer`)."""
        self._retired += [branch for branch in self.branches if branch not in branches]
        numbers = {old: branches.index(branch) for old, branch in enumerate(self.branches) if branch in branches}
        numbers[len(self.branches)] = len(branches)  # the upper's
        self.layers, self.branches = layers, branches
        for index, branch in enumerate(branches):
            branch.index = index
        if self.upper:
            self.upper.branch.index = self.upper.work.index = len(branches)
        by_key, self._by_key = self._by_key, {}
        for (index, device, ino), node in by_key.items():
            node.key = (numbers[index], device, ino) if index in numbers else None
            if node.key:
                self._by_key[node.key] = node
        self.roots = merge.root_places(branches)
        self.root.lowers = [] if self.root.opacity == b"y" and self.upper else list(self.roots)

    def _root(self) -> Directory:
        top: Lower = self.upper.branch if self.upper else self.roots[0].branch
        st = top.stat(b"")
        ranks = [UPPER] if self.upper else [0]
        root = Directory(None, b"", ranks, self.numbers.shown(st.st_dev, st.st_ino), list(self.roots))
        root.origin = b""
        if self.upper:
            marks = self.upper.branch.marks_of(b"")
            root.opacity, root.impure = marks.opacity, marks.impure
            if marks.opacity == b"y":
                root.lowers = []
        return root

    def _upper(self) -> Upper:
        if self.upper is None:
            raise failed(errno.EROFS)
        return self.upper

    def steady(self, read: Callable[[Node], _Result], node: Node) -> _Result:
        """Return `read(node)`, made again under the lock if a name went or moved meanwhile."""
        moves = self.moves
        seen = moves.names
        if not seen & 1:
            try:
                result = read(node)
            except _MOVED:
                pass
            else:
                if seen == moves.names:
                    return result
        with self.lock:
            return read(node)

    # Names.

    def listing(self, directory: Directory) -> Listing:
        """Return the names of the directory; the object is the tree's own and follows its changes."""
        listing = directory.listing
        return self.steady(self._load, directory) if listing is None else listing

    def readable(self, directory: Directory) -> Listing:
        """Return the names of the directory; EACCES where this process may not know them."""
        listing = self.listing(directory)
        if listing.unreadable:
            raise failed(errno.EACCES, directory.name)
        return listing

    def _load(self, node: Node) -> Listing:
        assert isinstance(node, Directory)
        if node.dead is not None:
            return Listing({})
        seen = self.moves.names
        listing = merge.list_places(self.upper_place(node), node.lowers)
        with self.lock:
            if node.listing is None:
                if seen != self.moves.names:  # perhaps of another directory: `steady` asks again
                    return listing
                node.listing = listing
            return node.listing

    def upper_place(self, directory: Directory) -> Place | None:
        """Return where the directory is in the upper, None where it is not."""
        if directory.rank != UPPER or self.upper is None:
            return None
        return Place(self.upper.branch, directory.upper_path(), directory.opacity, impure=directory.impure)

    def find(self, directory: Directory, name: bytes) -> Node | None:
        """Return the node of a name, or None where the directory does not show it."""
        found = self.listing(directory).get(name)
        if found is None or isinstance(found, Node):
            return found
        return self._entered(directory, name, found)[0]

    def find_state(self, directory: Directory, name: bytes) -> tuple[Node, os.stat_result] | None:
        """Return the node of a name with its state, or None where the directory does not show it."""
        listing = directory.listing
        found = (self.listing(directory) if listing is None else listing).get(name)
        if found is None:
            return None
        if isinstance(found, Node):
            return found, self.stat(found)
        node, st = self._entered(directory, name, found)
        return node, self.stat(node) if st is None else st

    def lookup(self, directory: Directory, name: bytes) -> Node:
        """Return the node of a name; ENOENT, or ENAMETOOLONG for one that no file system takes."""
        node = self.find(directory, name)
        if node is None:
            raise failed(errno.ENAMETOOLONG if len(name) > 255 else errno.ENOENT, name)
        return node

    def _entered(self, directory: Directory, name: bytes, found: Found) -> tuple[Node, os.stat_result | None]:
        """Return what `_enter` does, as `steady` would."""
        moves = self.moves
        seen = moves.names
        if not seen & 1:
            try:
                result = self._enter(directory, name, found)
            except _MOVED:
                pass
            else:
                if seen == moves.names:
                    return result
        with self.lock:
            return self._enter(directory, name, found)

    def _enter(self, directory: Directory, name: bytes, found: Found) -> tuple[Node, os.stat_result | None]:
        """Make the node of a name that is in the listing, and put it there; return its state if that was read."""
        node: Node
        if found.kind == DT_DIR:
            node, st = self._directory(directory, name, found)
        else:
            node, st = self._file(directory, name, found)
        with self.lock:
            listing = directory.listing
            if listing is None:  # forgotten meanwhile
                listing = self.listing(directory)
            known = listing.get(name)
            if isinstance(known, Node):  # another thread was faster
                return known, None
            if known is None:
                raise failed(errno.ENOENT, name)
            same = self._same_inode(node)
            listing.put(name, same)
            return same, st if same is node and not node.index else None

    def _same_inode(self, node: Node) -> Node:
        """Return the node that there is for the inode already, which then has one name more."""
        if node.key is None or node.parent is None:
            return node
        known = self._by_key.setdefault(node.key, node)
        if known.pin is not None:  # its known names were removed, and here is another
            known.parent, known.name, known.rank, known.pin = node.parent, node.name, node.rank, None
            known.gone = False
        elif known is not node:
            known.others += ((node.parent, node.name, node.rank),)
        return known

    def _directory(self, parent: Directory, name: bytes, found: Found) -> tuple[Directory, os.stat_result | None]:
        merged = merge.merge_directory(
            self.upper_place(parent), parent.lowers, found, name, origin=parent.origin, roots=self.roots
        )
        if merged.lowers:
            # As before any copy-up: the number of the topmost lower directory.
            st = merged.lowers[0].branch.stat(merged.lowers[0].path)
        else:
            st = self._upper().branch.stat(join(parent.upper_path(), name))
        node = Directory(parent, name, found.ranks, self.numbers.shown(st.st_dev, st.st_ino), merged.lowers)
        node.origin = merged.origin
        if merged.upper:
            node.opacity, node.impure = merged.upper.opacity, merged.upper.impure
        return node, None if merged.upper and merged.lowers else st

    def _file(self, parent: Directory, name: bytes, found: Found) -> tuple[Node, os.stat_result]:
        rank = found.ranks[0]
        place = self.upper_place(parent) if rank == UPPER else parent.lowers[rank]
        assert place is not None, "a rank names a place that there is"
        path = place.path + b"/" + name if place.path else name
        st = place.branch.stat(path)
        # Not the kind of the listing: a recorded device is a file on disk.
        node = Node(parent, name, rank, stat.S_IFMT(st.st_mode) >> 12, self.numbers.shown(st.st_dev, st.st_ino))
        # Without an index a copy-up parts the names of a lower file, as with the kernel's driver.
        if st.st_nlink > 1 and (rank == UPPER or not self.upper or self.upper.indexed):
            node.key = (place.branch.index, st.st_dev, st.st_ino)
            if self.upper and self.upper.indexed:
                self._follow_index(node, place.branch, path)
        # A metacopy is a hole. Its directory says that it holds copies, unless somebody copied the layer without that.
        if place.impure or (st.st_size and not st.st_blocks and node.kind == DT_REG):
            self._follow_origin(node, place, path, parent)
        return node, st

    def _follow_index(self, node: Node, branch: Lower, path: bytes) -> None:
        """Find the copied-up data of a file with several names, whichever of the names was copied up."""
        upper = self._upper()
        if node.rank == UPPER:
            value = upper.get_mark(upper.branch, path, b"origin") or b""
        else:
            value = self.numbers.origin(branch, path)
        index = upper.index_path(value)
        if not index:
            return
        try:
            st = upper.work.stat(index)
        except FileNotFoundError:
            return
        if node.rank != UPPER and not upper.is_index_of(index, branch.index):
            return  # one inode in two layers is two files of the union
        if node.rank == UPPER and node.key != (upper.branch.index, st.st_dev, st.st_ino):
            return  # not the copy that the index knows: of an older use of the upper
        node.rank, node.index = UPPER, index
        node.key = (upper.branch.index, st.st_dev, st.st_ino)
        node.ino = self.numbers.of_origin(value) or node.ino

    def _follow_origin(self, node: Node, place: Place, path: bytes, parent: Directory) -> None:
        """Take the number, and for a metacopy file the data, from what the entry was copied up from."""
        try:
            names = place.branch.listxattr(path)
        except OSError:
            return
        for attribute in names:
            if attribute.endswith(b".overlay.origin"):
                node.ino = self.numbers.of_origin(place.branch.getxattr(path, attribute)) or node.ino
            elif attribute.endswith(b".overlay.metacopy") and node.kind == DT_REG:
                node.data = merge.find_data(place.branch, path, parent.lowers, self.roots)

    def forget(self, node: Node) -> None:
        """Drop a node that nobody uses any more; looking its name up makes it again. The root and indexed ones stay."""
        if node.gone and not node.key:  # no name leads to it, nor its inode
            node.pin = None
            return
        with self.lock:
            if node.parent is None or node.index:
                return
            if node.key:
                self._by_key.pop(node.key, None)
            for directory, name, rank in ((node.parent, node.name, node.rank), *node.others):
                listing = directory.listing
                if listing is not None and listing.get(name) is node:
                    listing.put(name, Found(node.ranks if isinstance(node, Directory) else [rank], node.kind))
            node.others = ()
            node.pin = None
            if isinstance(node, Directory):
                node.listing = None

    def part(self, node: Node) -> None:
        """Let the further names of a node be looked up again: it alone was copied up."""
        for directory, name, rank in node.others:
            listing = directory.listing
            if listing is not None and listing.get(name) is node:
                listing.put(name, Found([rank], node.kind))
        node.others = ()

    def register(self, node: Node, st: os.stat_result) -> None:
        """Remember an upper file that has, or is about to have, a further name."""
        if node.key is None:
            node.key = (self._upper().branch.index, st.st_dev, st.st_ino)
            self._by_key[node.key] = node

    def unregister(self, node: Node) -> None:
        """Forget the inode of a file whose last name is gone: its number may be given again."""
        if node.key:
            self._by_key.pop(node.key, None)
            node.key = None

    # Nodes.

    def where_upper(self, node: Node) -> tuple[Branch, bytes]:
        """Return where a node of the upper is that has a name: the upper or its work directory, and the path."""
        upper = self._upper()
        return (upper.work, node.index) if node.index else (upper.branch, node.upper_path())

    def where(self, node: Node) -> tuple[Lower, bytes]:
        """Return the branch and the path of a node that has a name; valid until it is moved or copied up."""
        if node.rank == UPPER:
            return self.where_upper(node)
        if node.parent is None:
            return self.roots[0].branch, self.roots[0].path
        if isinstance(node, Directory):
            return node.lowers[0].branch, node.lowers[0].path
        place = node.parent.lowers[node.rank]
        return place.branch, join(place.path, node.name)

    def stat(self, node: Node) -> os.stat_result:
        """Return the state of the real entry; number and links of the union are `node.ino` and `nlink`."""
        # As `steady` with `stat_now`, without the calls: this is what a server does most.
        seen = self.moves.names
        if not seen & 1:
            try:
                st = self.stat_now(node)
            except _MOVED:
                pass
            else:
                if seen == self.moves.names:
                    return st
        with self.lock:
            return self.stat_now(node)

    def stat_now(self, node: Node) -> os.stat_result:
        """Return the state as `stat` does, for whoever holds the lock."""
        if node.pin is not None:
            return self.upper.branch.fstat(node.pin.fd) if self.upper else os.fstat(node.pin.fd)
        if isinstance(node, Directory) and node.dead is not None:
            return node.dead
        branch, path = self.where(node)
        return branch.stat(path)

    def nlink(self, node: Node, st: os.stat_result) -> int:
        """Return the link count that the union shows: as the kernel's, 1 for a merged directory."""
        if isinstance(node, Directory):
            if node.dead is not None:
                return 0
            merged = len(node.lowers) + (node.rank == UPPER) > 1
            return 1 if merged else st.st_nlink
        if node.index:
            return self._upper().indexed_nlink(node.index, st)
        # The file of a lower layer is still there when its name of the union is not.
        return st.st_nlink - 1 if node.gone and node.pin is None else st.st_nlink

    def open(self, node: Node, flags: int) -> int:
        """Open the node itself; the caller closes the descriptor. For writing, its copy-up must have happened."""
        moves = self.moves
        seen = moves.names
        if node.rank != UPPER and not seen & 1:  # without the lock, since a disk may have to be waited for
            try:
                fd = self._open(node, flags)
            except _MOVED:
                pass
            else:
                if seen == moves.names and node.rank != UPPER:
                    return fd
                os.close(fd)
        with self.lock:
            return self._open(node, flags)

    def _open(self, node: Node, flags: int) -> int:
        if node.pin is not None:
            return os.open(b"/proc/self/fd/%d" % node.pin.fd, flags | os.O_CLOEXEC)
        branch, path = self.where_data(node)
        return branch.open(path, flags)

    def where_data(self, node: Node) -> tuple[Lower, bytes]:
        """Return where the data of a file are, which a metacopy file has elsewhere."""
        return (node.data.branch, node.data.path) if node.data is not None else self.where(node)

    def readlink(self, node: Node) -> bytes:
        """Return the target of a symbolic link."""

        def read(node: Node) -> bytes:
            if node.pin is not None:
                return os.readlink(b"", dir_fd=node.pin.fd)
            branch, path = self.where(node)
            return branch.readlink(path)

        return self.steady(read, node)

    def statvfs(self) -> os.statvfs_result:
        """Return the numbers of the file system that is written to, or of the topmost layer."""
        return (self.upper.branch if self.upper else self.roots[0].branch).statvfs()


def mode_of(kind: int) -> int:
    """Return the S_IF bits of a DT_* type."""
    return stat.S_IFMT(kind << 12)
