"""From paths to nodes: a path of the union is followed name by name, over links, and never leads out of it."""

from __future__ import annotations

import errno
import os
import sys

from lamina.overlay.union.branch import DT_LNK
from lamina.overlay.union.node import Directory, Node
from lamina.overlay.union.tree import Tree, failed

StrPath = str | bytes | os.PathLike[str] | os.PathLike[bytes]

_ENCODING, _ERRORS = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()  # as os.fsencode, at half its cost
_MAX_LINKS = 40  # MAXSYMLINKS of the kernel
_FOLDERS = 10_000  # how many paths of directories are remembered


class Paths:
    """Follows paths through a tree, which is closed by whoever opened it."""

    def __init__(self) -> None:
        self._tree: Tree | None = None
        self._folders: dict[bytes, tuple[int, Directory]] = {}

    @property
    def tree(self) -> Tree:
        """The merged tree by nodes. EBADF once the union is closed."""
        if self._tree is None:
            raise failed(errno.EBADF)
        return self._tree

    def _node(self, path: StrPath, *, follow: bool = True) -> Node:
        return self._look(path, follow=follow)[0]

    def _look(self, path: StrPath, *, follow: bool) -> tuple[Node, os.stat_result | None]:
        """Return the node at the end of the path, and its state if that was read on the way."""
        tree = self.tree
        raw = path.encode(_ENCODING, _ERRORS) if isinstance(path, str) else os.fsencode(path)
        head, _, name = raw.rpartition(b"/")
        known = self._folders.get(head)
        if known is not None and known[0] == tree.moves.count:
            directory = known[1]
            found = directory.listing.get(name) if directory.listing is not None else None
            if found is not None and (found.kind != DT_LNK or not follow):
                if isinstance(found, Node):
                    return found, None
                if (entered := tree.find_state(directory, name)) is not None:
                    return entered
        node, name, _ = self._walk(path, follow=follow)
        if node is None:
            raise failed(errno.ENAMETOOLONG if len(name) > 255 else errno.ENOENT, os.fsencode(path))
        if known is None or known[0] != tree.moves.count:
            self._remember(head)
        return node, None

    def _remember(self, head: bytes) -> None:
        """Keep where a path of a directory leads: it holds until something is renamed, or what leads there removed."""
        seen = self.tree.moves.count
        directory = self._walk(head, follow=True)[0]
        if isinstance(directory, Directory) and not seen & 1:
            if len(self._folders) >= _FOLDERS:
                self._folders.clear()
            self._folders[head] = (seen, directory)

    def _place(self, path: StrPath) -> tuple[Directory, bytes]:
        """Return the directory and the name of the last component, which need not exist and is not followed."""
        _, name, parent = self._walk(os.fsencode(path).rstrip(b"/"), follow=False)
        if name in (b"", b".", b".."):
            raise failed(errno.EBUSY if name == b"" else errno.EINVAL, os.fsencode(path))
        return parent, name

    def _walk(self, path: StrPath, *, follow: bool) -> tuple[Node | None, bytes, Directory]:
        """Return the node at the end of the path or None, its name (b"" for the root), and its directory."""
        tree = self.tree
        raw = _checked(os.fsencode(path))
        rest = [part for part in raw.split(b"/") if part]
        rest.reverse()
        follow = follow or raw.endswith(b"/")
        here: Directory = tree.root
        node: Node | None = here
        name = b""
        links = 0
        while rest:
            name = rest.pop()
            if name == b".":
                node, name = here, here.name
                continue
            if name == b"..":
                here = here.parent or here
                node, name = here, here.name
                continue
            node = tree.find(here, name)
            if node is None:
                if rest:
                    raise failed(errno.ENAMETOOLONG if len(name) > 255 else errno.ENOENT, raw)
                return None, name, here
            if isinstance(node, Directory):
                if rest:
                    here = node
                continue
            if node.kind == DT_LNK and (rest or follow):
                links += 1
                if links > _MAX_LINKS:
                    raise failed(errno.ELOOP, raw)
                target = tree.readlink(node)
                if target.startswith(b"/"):
                    here = tree.root
                rest += [part for part in reversed(target.split(b"/")) if part]
                node, name = here, here.name
            elif rest or raw.endswith(b"/"):
                raise failed(errno.ENOTDIR, raw)
        if node is here:
            return node, here.name, here.parent or here
        return node, name, here


def _checked(raw: bytes) -> bytes:
    if b"\0" in raw:
        raise ValueError("embedded null byte")  # as os says
    return raw
