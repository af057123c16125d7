"""The directories of a layer under construction: found by their names, made where they are missing.

A name is resolved from the tree's root as if the tree, over the layers below, were `/`: links on the way are followed
here, and the kernel never follows one. A directory that an archive does not name is as the one below.
"""

from __future__ import annotations

import os
import stat

from lamina.errors import InvalidInput
from lamina.layer.describe import describe, overlay_owner
from lamina.layer.lower import Found, Lower
from lamina.layer.owners import LowerOwners
from lamina.layer.target import Target
from lamina.overlay.names import join, parts_of
from lamina.tar import entry as kinds
from lamina.tar.entry import Entry

_MAX_LINKS = 40


class Directories:
    """Finds directories of `target`, over the layers `lower`, and knows what metadata they are to have in the end.

    `depends` tells whether something in the tree was taken from the layers below or left to them, `implied` which
    directories the archive has not named (yet), `hiding` which hide all of the layers below.
    """

    def __init__(self, target: Target, lower: Lower, lower_owners: LowerOwners, *, single_id: bool) -> None:
        self._target = target
        self._lower = lower
        self._lower_owners = lower_owners
        self._single_id = single_id
        self.metadata: dict[bytes, Entry] = {}
        self.implied: set[bytes] = set()
        self.hiding: set[bytes] = set()
        self.depends = False

    def name(self, path: bytes, entry: Entry) -> None:
        """Note what the archive says of the directory at `path`."""
        self.metadata[path] = entry
        self.implied.discard(path)

    def forget(self, path: bytes) -> None:
        """Forget the directory at `path`, and those below it."""
        below = path + b"/"
        for known in [known for known in self.metadata if known == path or known.startswith(below)]:
            del self.metadata[known]
            self.implied.discard(known)

    def resolve(self, parts: list[bytes], name: bytes) -> bytes:
        """Return the path, free of links, of the directory that `parts` lead to; make what is missing of it."""
        path = b"/".join(parts)
        if path in self._target.directories:
            return path
        found = self._walk(parts, name, make=True)
        assert found is not None
        return found

    def existing(self, named: bytes) -> bytes | None:
        """Return the path of the directory that holds a mark, None where neither this layer nor those below have it."""
        try:
            path = self._walk(parts_of(named), named, make=False)
        except InvalidInput:  # a file of this layer stands there, and hides everything itself
            return None
        if path is None:
            self.depends = True
        return path

    def is_below_hiding(self, path: bytes) -> bool:
        """Tell whether the directory at `path`, or one that it lies in, hides the layers below."""
        while path not in self.hiding:
            if not path:
                return False
            path = path.rpartition(b"/")[0]
        return True

    def settle_top(self) -> None:
        """Give the top directory the metadata of the one below, where the archive did not name it."""
        if b"" in self.metadata:
            return
        self.metadata[b""] = root = self._like_lower(b"")
        # It is mostly as it would be over nothing: almost no archive names it.
        if (root.mode, root.uid, root.gid, root.xattrs) == (0o755, 0, 0, {}):
            root.mtime = 0
        else:
            self.depends = True

    def describe(self, found: Found, fd: int, path: bytes) -> Entry:
        """Return what `found`, open as `fd`, is in the layers below, as an entry at `path`."""
        entry = describe(path, found.st, fd)
        owner = self._lower_owners.of(found.layer, found.path)
        if owner is not None:
            overlay_owner(entry, owner, single_id=self._single_id)
        return entry

    def _walk(self, parts: list[bytes], name: bytes, *, make: bool) -> bytes | None:
        here = b""
        links = 0
        rest = parts[::-1]
        while rest:
            part = rest.pop()
            if part == b"..":  # out of a link's target; the root's parent is the root
                here = here.rpartition(b"/")[0]
                continue
            path = join(here, part)
            if path in self._target.directories:
                here = path
                continue
            target = self._link_target(path, name)
            if target is None:
                if not make and (self.is_below_hiding(path) or self._lower.directory(path) is None):
                    return None
                self._imply(path)
                here = path
                continue
            links += 1
            if links > _MAX_LINKS:
                raise InvalidInput("apply", name, "too many symbolic links on its way")
            if target.startswith(b"/"):
                here = b""
            rest += [step for step in reversed(target.split(b"/")) if step not in (b"", b".")]
        return here

    def _link_target(self, path: bytes, name: bytes) -> bytes | None:
        """Return where the link at `path` leads, None where nothing or a directory of a lower layer is there."""
        st = self._target.lstat(path)
        if st is not None:
            if not stat.S_ISLNK(st.st_mode):
                raise InvalidInput("apply", name, f"{os.fsdecode(path)!r} in the same layer is not a directory")
            head, _, last = path.rpartition(b"/")
            return os.readlink(last, dir_fd=self._target.open_directory(head))
        found = None if self.is_below_hiding(path) else self._lower.find(path)
        if found is None or not stat.S_ISLNK(found.st.st_mode):
            return None
        self.depends = True
        fd = self._lower.open(found, os.O_PATH)
        try:
            return os.readlink(b"", dir_fd=fd)
        finally:
            os.close(fd)

    def _imply(self, path: bytes) -> None:
        """Make the directory at `path`, which the archive does not name (yet)."""
        self._target.make_directory(path)
        self.metadata[path] = self._like_lower(path)
        self.implied.add(path)

    def _like_lower(self, path: bytes) -> Entry:
        """Return the metadata of the directory at `path` in the layers below, or root's with mode 0755."""
        found = self._lower.find(path)
        if found is not None and found.is_dir:
            fd = self._lower.open(found, os.O_RDONLY | os.O_DIRECTORY)
            try:
                return self.describe(found, fd, path)
            finally:
                os.close(fd)
        entry = Entry(path, kinds.DIRECTORY)
        entry.mode = 0o755
        return entry
