"""The tree that a stack of layers shows, as one tar without marks: what `docker export` writes."""

from __future__ import annotations

import os
import stat

from lamina.layer.content import read_range
from lamina.layer.describe import describe, overlay_owner
from lamina.layer.lower import Found, Lower, LowerDir
from lamina.layer.owners import LowerOwners
from lamina.overlay.names import join
from lamina.tar import entry as kinds
from lamina.tar import write as tarwrite
from lamina.tar.entry import Entry
from lamina.tar.header import padding

_GATHER = 1 << 18


def flatten(trees: list[str], tables: list[str], out: int, *, single_id: bool) -> None:
    """Write what the layers `trees`, base first, show together to `out`; `tables` are their owners tables.

    Directories come before what is in them, names are sorted; sockets are left out. The trees may be changing: what
    vanishes meanwhile is left out, and a file that becomes shorter is an error.
    """
    with Lower(trees) as lower, Lower(trees[:-1]) as below:
        writer = _Flattener(lower, below, LowerOwners(trees, tables), out, single_id=single_id)
        root = lower.root()
        if root is not None:
            writer.directory(root)
        writer.end()


class _Flattener:
    def __init__(self, lower: Lower, below: Lower, owners: LowerOwners, out: int, *, single_id: bool) -> None:
        self._lower = lower
        self._below = below
        self._owners = owners
        self._out = out
        self._single_id = single_id
        self._first: dict[tuple[int, int], bytes] = {}
        self._pending = bytearray()

    def directory(self, top: LowerDir) -> None:
        """Write all that is in a directory of the stack, and below it."""
        levels = [self._listed(top)]
        while levels:
            if not levels[-1]:
                levels.pop()
                continue
            path, found = levels[-1].pop()
            self._add(path, found)
            if found.is_dir:
                deeper = self._lower.directory(path)
                if deeper is not None:
                    levels.append(self._listed(deeper))

    def end(self) -> None:
        """Write the end of the archive."""
        self._put(tarwrite.END)
        self._flush()

    def _listed(self, directory: LowerDir) -> list[tuple[bytes, Found]]:
        found = [(join(directory.path, name), entry) for name, entry in self._lower.names(directory).items()]
        return [pair for pair in found if not stat.S_ISSOCK(pair[1].st.st_mode)][::-1]

    def _add(self, path: bytes, found: Found) -> None:
        try:
            # O_PATH: a FIFO or a device is looked at, not opened.
            fd = self._lower.open(found, os.O_PATH)
        except FileNotFoundError:
            return
        try:
            entry = describe(path + b"/" * found.is_dir, found.st, fd)
        finally:
            os.close(fd)
        self._restore_owner(entry, path, found)
        if not found.is_dir and found.st.st_nlink > 1:
            first = self._first.setdefault((found.st.st_dev, found.st.st_ino), path)
            if first != path:
                entry.kind, entry.link, entry.size = kinds.HARDLINK, first, 0
        if entry.kind == kinds.FILE:
            self._file(entry, found)
        else:
            self._put(tarwrite.header(entry))

    def _file(self, entry: Entry, found: Found) -> None:
        fd = self._lower.open(found, os.O_RDONLY)
        try:
            entry.size = os.fstat(fd).st_size
            self._put(tarwrite.header(entry))
            for piece in read_range(fd, 0, entry.size, entry.name):
                self._put(piece)
            self._put(bytes(padding(entry.size)))
        finally:
            os.close(fd)

    def _restore_owner(self, entry: Entry, path: bytes, found: Found) -> None:
        owner = self._owners.of(found.layer, found.path)
        if owner is None:  # the topmost has no table; what was copied up into it is described by that of its origin
            origin = self._below.find(path)
            if origin is None or stat.S_IFMT(origin.st.st_mode) != stat.S_IFMT(found.st.st_mode):
                return
            owner = self._owners.of(origin.layer, origin.path)
        if owner is not None:
            overlay_owner(entry, owner, single_id=self._single_id)

    def _put(self, data: bytes) -> None:
        self._pending += data
        if len(self._pending) >= _GATHER:
            self._flush()

    def _flush(self) -> None:
        view = memoryview(bytes(self._pending))
        self._pending.clear()
        while view:
            view = view[os.write(self._out, view) :]
