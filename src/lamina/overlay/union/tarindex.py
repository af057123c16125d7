"""An archive as a tree in memory: what `layer.apply` would make of it, with the places of contents instead of files.

The rules are those of the OCI image specification, "Applying Changesets", and of `layer.apply`: later entries replace
earlier ones, whiteouts act on the layers below alone, links on the way are resolved as if the tree, over the layers
below, were `/`. What the archive does not name (directories on the way, targets of links across layers) is taken from
the layers below.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from types import MappingProxyType

from lamina.errors import InvalidInput
from lamina.overlay import format as marks
from lamina.overlay.names import depth, join, parts_of, whiteout_of
from lamina.overlay.union.merge import find_anything
from lamina.overlay.union.node import Place
from lamina.tar import entry as kinds
from lamina.tar.entry import Entry
from lamina.tar.seek import SeekingReader

_MAX_LINKS = 40
#: Labels belong to the host's policy, not to the content.
_SKIPPED = (b"security.selinux",)

_NONE: Mapping[bytes, bytes] = MappingProxyType({})  # shared by the many that have no attributes

_TYPES = {kind: bits for bits, kind in kinds.TYPES.items()}


class Inode:
    """An entry of the tree. `mode` has its type; `links` counts its names in the archive.

    A file's content is at `offset` of the archive, in the stretches `extents` (offset, length) of the file if it has
    holes, or else is that of `source`, a file of a layer below.
    """

    __slots__ = (
        "extents", "gid", "ino", "links", "mode", "mtime", "offset", "rdev", "size", "source", "target", "uid",
        "xattrs",
    )  # fmt: skip

    def __init__(self, mode: int, ino: int) -> None:
        self.mode = mode
        self.ino = ino
        self.links = 1
        self.uid = self.gid = 0
        self.size = 0
        self.mtime = 0
        self.rdev = 0
        self.offset = 0
        self.extents: list[tuple[int, int]] | None = None
        self.source: Place | None = None
        self.target = b""
        self.xattrs: Mapping[bytes, bytes] = _NONE

    def take(self, entry: Entry) -> None:
        """Take owner, mode, times and attributes of an entry."""
        self.mode = stat.S_IFMT(self.mode) | (0o777 if entry.kind == kinds.SYMLINK else entry.mode)
        self.uid, self.gid, self.mtime = entry.uid, entry.gid, entry.mtime
        if entry.xattrs:
            kept = [name for name in entry.xattrs if not marks.is_mark(name) and name not in _SKIPPED]
            self.xattrs = {name: entry.xattrs[name] for name in kept}
        else:
            self.xattrs = _NONE

    def take_from(self, place: Place) -> None:
        """Take owner, mode, times and attributes of an entry of a layer below."""
        st = place.branch.stat(place.path)
        self.mode = stat.S_IFMT(self.mode) | stat.S_IMODE(st.st_mode)
        self.uid, self.gid, self.mtime = st.st_uid, st.st_gid, st.st_mtime_ns
        names = [name for name in place.branch.listxattr(place.path) if not marks.is_mark(name)]
        self.xattrs = {name: place.branch.getxattr(place.path, name) for name in names if name not in _SKIPPED}


class Folder(Inode):
    """A directory with its `children`; it hides the names `whiteouts` of the layers below, or if `opaque` all names."""

    __slots__ = ("children", "opaque", "whiteouts")

    def __init__(self, ino: int) -> None:
        super().__init__(stat.S_IFDIR | 0o755, ino)
        self.children: dict[bytes, Inode] = {}
        self.whiteouts: set[bytes] = set()
        self.opaque = False


def read_tree(fd: int, below: list[Place]) -> Folder:
    """Return the root of the tree of the archive in `fd`, which is not compressed; its content is not read.

    `below` are the roots of the layers below, topmost first. InvalidInput for what no layer may be.
    """
    indexer = _Indexer(below)
    reader = SeekingReader(fd)
    for entry in reader:
        indexer.add(entry, reader.locate())
    return indexer.finish()


class _Indexer:
    """Makes the tree from entries that are added one by one."""

    def __init__(self, below: list[Place]) -> None:
        self._below = below
        self._count = 1
        self._root = Folder(1)
        self._root_named = False
        self._directories = {b"": self._root}
        self._whiteouts: list[tuple[bytes, bytes]] = []  # (directory as named, hidden name), in order
        self._opaque: list[bytes] = []

    def _new(self, bits: int) -> Inode:
        self._count += 1
        return Inode(bits, self._count)

    def add(self, entry: Entry, offset: int) -> None:
        """Add an entry, whose content is at `offset` of the archive."""
        parts = parts_of(entry.name)
        if not parts:
            if entry.kind != kinds.DIRECTORY:
                raise InvalidInput("apply", entry.name, "the top of a layer can only be a directory")
            self._root.take(entry)
            self._root_named = True
            return
        if parts[-1].startswith(marks.WHITEOUT_PREFIX):
            self._note_whiteout(entry, parts)
        elif entry.kind == kinds.CHARDEV and not entry.major and not entry.minor:
            self._whiteouts.append((b"/".join(parts[:-1]), parts[-1]))
        elif entry.kind == kinds.HARDLINK:
            self._hard_link(entry, parts)
        else:
            self._put(entry, parts, offset)

    def _note_whiteout(self, entry: Entry, parts: list[bytes]) -> None:
        directory = b"/".join(parts[:-1])
        if parts[-1] == marks.OPAQUE_NAME:
            self._opaque.append(directory)
        elif not parts[-1].startswith(marks.META_PREFIX):
            self._whiteouts.append((directory, whiteout_of(entry.name, parts[-1])))

    def _put(self, entry: Entry, parts: list[bytes], offset: int) -> None:
        directory = self._resolve(parts[:-1], entry.name)
        path = join(directory, parts[-1])
        if entry.kind == kinds.DIRECTORY:
            self._make_directory(path).take(entry)
            return
        inode = self._new(_TYPES[entry.kind])
        inode.take(entry)
        if entry.kind == kinds.FILE:
            inode.size, inode.offset, inode.extents = entry.size, offset, entry.extents
        elif entry.kind == kinds.SYMLINK:
            if not entry.link or b"\0" in entry.link:
                raise InvalidInput("apply", entry.name, "the link has no usable target")
            inode.target, inode.size = entry.link, len(entry.link)
        elif entry.kind in (kinds.CHARDEV, kinds.BLOCKDEV):
            inode.rdev = os.makedev(entry.major, entry.minor)
        self._place(directory, parts[-1], inode)

    def _place(self, directory: bytes, name: bytes, inode: Inode) -> None:
        """Give the inode the name; what has it gives way."""
        children = self._directories[directory].children
        old = children.get(name)
        if old is not None:
            _lose_name(old)
            if isinstance(old, Folder):
                path = join(directory, name)
                gone = [known for known in self._directories if known == path or known.startswith(path + b"/")]
                for known in gone:
                    del self._directories[known]
        children[name] = inode

    def _make_directory(self, path: bytes) -> Folder:
        known = self._directories.get(path)
        if known is None:
            head, _, name = path.rpartition(b"/")
            self._count += 1
            known = Folder(self._count)
            self._place(head, name, known)
            self._directories[path] = known
        return known

    def _hard_link(self, entry: Entry, parts: list[bytes]) -> None:
        directory = self._resolve(parts[:-1], entry.name)
        path = join(directory, parts[-1])
        target_parts = parts_of(entry.link)
        if not target_parts:
            raise InvalidInput("apply", entry.name, "the link has no usable target")
        head = self._resolve(target_parts[:-1], entry.name)
        target = join(head, target_parts[-1])
        inode = self._directories[head].children.get(target_parts[-1])
        if inode is None:
            inode = self._from_below(entry, target)
            self._place(head, target_parts[-1], inode)
        if stat.S_ISDIR(inode.mode):
            raise InvalidInput("apply", entry.name, "a hard link to a directory")
        if target == path:
            return
        if target.startswith(path + b"/"):
            raise InvalidInput("apply", entry.name, "the link replaces its own target")
        self._place(directory, parts[-1], inode)
        inode.links += 1

    def _from_below(self, entry: Entry, target: bytes) -> Inode:
        """Return the target of a link across layers as a file of this one, as the kernel does before it links."""
        place = find_anything(self._below, target)
        st = None if place is None else place.branch.stat(place.path)
        if place is None or st is None or not stat.S_ISREG(st.st_mode):
            raise InvalidInput("apply", entry.name, f"its target {os.fsdecode(entry.link)!r} is not in the layer")
        inode = self._new(stat.S_IFREG)
        inode.take_from(place)
        inode.size, inode.source = st.st_size, place
        return inode

    # Directories

    def _resolve(self, parts: list[bytes], name: bytes) -> bytes:
        """Return the path, free of links, of the directory that `parts` lead to; make what is missing of it."""
        path = b"/".join(parts)
        if path in self._directories:
            return path
        found = self._walk(parts, name, make=True)
        assert found is not None, "what is missing was made"
        return found

    def _walk(self, parts: list[bytes], name: bytes, *, make: bool) -> bytes | None:
        """Do as `_resolve`; but without `make`, None for a directory that the layers below do not have either."""
        here = b""
        links = 0
        rest = parts[::-1]
        while rest:
            part = rest.pop()
            if part == b"..":  # out of a link's target; the root's parent is the root
                here = here.rpartition(b"/")[0]
                continue
            path = join(here, part)
            if path in self._directories:
                here = path
                continue
            own = self._directories[here].children.get(part)
            if own is not None and not stat.S_ISLNK(own.mode):
                raise InvalidInput("apply", name, f"{os.fsdecode(path)!r} in the same layer is not a directory")
            if own is None and not make and self._is_hidden(here, part):
                return None
            below = find_anything(self._below, path) if own is None else None
            target = own.target if own is not None else _link_target(below)
            if not target:
                if not make and not _is_directory(below):
                    return None
                self._imply(path, below)
                here = path
                continue
            links += 1
            if links > _MAX_LINKS:
                raise InvalidInput("apply", name, "too many symbolic links on its way")
            if target.startswith(b"/"):
                here = b""
            rest += [step for step in reversed(target.split(b"/")) if step not in (b"", b".")]
        return here

    def _is_hidden(self, path: bytes, name: bytes) -> bool:
        """Tell whether this layer hides what the layers below have of the name in the directory."""
        folder = self._directories[path]
        while not folder.opaque and name not in folder.whiteouts:
            if not path:
                return False
            path, _, name = path.rpartition(b"/")
            folder = self._directories[path]
        return True

    def _imply(self, path: bytes, below: Place | None) -> None:
        """Make the directory at `path`, which the archive does not name (yet), like the one of the layers below."""
        made = self._make_directory(path)
        if below is not None and _is_directory(below):
            made.take_from(below)

    # The end

    def finish(self) -> Folder:
        """Put the marks in, which act on the layers below wherever they stand in the archive; return the root."""
        # The upper ones first: in what one of them hides, the others have nothing to hide.
        pending: list[tuple[bytes, bytes | None]] = [*self._whiteouts, *((named, None) for named in self._opaque)]
        for named, name in sorted(pending, key=lambda mark: (depth(mark[0]), mark[1] is not None)):
            path = self._existing(named)
            if path is None:
                continue
            folder = self._directories[path]
            made = folder if name is None else self._directories.get(join(path, name))
            if made is not None:
                made.opaque = True
            elif name is not None and name not in folder.children:
                folder.whiteouts.add(name)
        if not self._root_named and self._below:
            self._root.take_from(self._below[0])
            root = self._root
            if (root.mode, root.uid, root.gid, root.xattrs) == (stat.S_IFDIR | 0o755, 0, 0, {}):
                root.mtime = 0  # as over nothing
        return self._root

    def _existing(self, named: bytes) -> bytes | None:
        """Return the directory that holds a mark, None where neither this layer nor those below have it."""
        try:
            return self._walk(parts_of(named), named, make=False)
        except InvalidInput:  # a file of this layer stands there, and hides everything itself
            return None


def _lose_name(inode: Inode) -> None:
    """Count the name that gives way, and with a directory all names in it."""
    pending = [inode]
    while pending:
        gone = pending.pop()
        gone.links -= 1
        if isinstance(gone, Folder):
            pending += gone.children.values()


def _is_directory(place: Place | None) -> bool:
    return place is not None and stat.S_ISDIR(place.branch.stat(place.path).st_mode)


def _link_target(place: Place | None) -> bytes:
    if place is None or not stat.S_ISLNK(place.branch.stat(place.path).st_mode):
        return b""
    return place.branch.readlink(place.path)
