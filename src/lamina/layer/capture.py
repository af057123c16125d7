"""An upper, or a plain directory, becomes a layer: the tar that describes its changes, and the tree made from that tar.

The same changes give the same bytes: the walk is sorted, nothing depends on the clock, on inode numbers or on the order
of directories on disk. Tree and framing are made from the entries as they are written, so that the layer is what its
tar says, and the uppers stay as they are.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable

from lamina.errors import InvalidInput
from lamina.events import Event, OnEvent
from lamina.layer.content import FileContent
from lamina.layer.descend import Descent
from lamina.layer.describe import describe, overlay_owner
from lamina.layer.digest import Digester
from lamina.layer.lower import Found, Lower
from lamina.layer.owners import LowerOwners
from lamina.layer.unpack import Below, Making, making
from lamina.layer.walk import Change, Opaque, Visible, Walk, Whiteout, same_metadata
from lamina.overlay import format as marks
from lamina.overlay.names import join
from lamina.tar import entry as kinds
from lamina.tar import write as tarwrite
from lamina.tar.entry import Entry
from lamina.tar.header import padding

_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_PATH = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_STEP = 1 << 24


class Writer:
    """Writes entries to the tar that is hashed and to the layer that is made."""

    def __init__(self, made: Making, digester: Digester, task: str, on_event: OnEvent, *, give: bool = False) -> None:
        self._made = made
        self._give = give
        self._digester = digester
        self._task = task
        self._on_event = on_event
        self._next = _STEP
        self._links: dict[tuple[int, int], bytes] = {}
        self._number = 0

    def add(self, entry: Entry, fd: int = -1) -> None:
        """Write `entry`; `fd` is the file with its content and stays the caller's."""
        self._number += 1
        entry.number = self._number
        self._literal(tarwrite.header(entry))
        self._made.applier.add(entry, FileContent(fd, self._digester, give=self._give))
        if entry.kind == kinds.FILE:
            self._literal(bytes(padding(entry.size)))
        if self._digester.size >= self._next:
            self._next = self._digester.size + _STEP
            self._on_event(Event(self._task, "layer", done=self._digester.size))

    def add_link(self, entry: Entry, st: os.stat_result) -> bool:
        """Write `entry` as another name of a file written before, if it is one; else remember it as the first."""
        if st.st_nlink == 1:
            return False
        first = self._links.setdefault((st.st_dev, st.st_ino), entry.name)
        if first == entry.name:
            return False
        entry.kind, entry.link, entry.size, entry.xattrs = kinds.HARDLINK, first, 0, {}
        self.add(entry)
        return True

    def finish(self) -> dict[str, object]:
        """End the archive and describe the layer."""
        self._literal(tarwrite.END)
        self._made.finish()
        diff_id = self._digester.finish()
        applier = self._made.applier
        self._on_event(Event(self._task, "layer", done=self._digester.size, text=self._made.refused(), finished=True))
        return {
            "diff_id": diff_id,
            "size": self._digester.size,
            "content": applier.content,
            "entries": applier.entries,
            "complete": applier.complete,
            "compression": "none",
        }

    def _literal(self, data: bytes) -> None:
        self._made.literal += data
        self._digester.update(data)


class Capture:
    """Turns the changes of uppers into entries."""

    def __init__(self, writer: Writer, lower: Lower, owners: LowerOwners, *, single_id: bool) -> None:
        self._writer = writer
        self._lower = lower
        self._owners = owners
        self._single_id = single_id

    def add(self, changes: Iterable[Change]) -> None:
        """Write all changes of one upper, the top directory only if it or something in it changed."""
        top: Visible | None = None
        for change in changes:
            if isinstance(change, Visible) and change.name == b".":
                if change.base is None or not same_metadata(change, change.base.st):
                    self._visible(change)
                else:
                    top = change
                continue
            if top is not None:
                # Its descriptor is still the walk's: the top directory stays open until the walk ends.
                self._visible(top)
                top = None
            self._change(change)

    def _change(self, change: Change) -> None:
        if isinstance(change, Visible):
            self._visible(change)
        elif isinstance(change, Whiteout):
            head, _, name = change.path.rpartition(b"/")
            self._mark(join(head, marks.WHITEOUT_PREFIX + name))
        elif isinstance(change, Opaque) and not change.inner:
            self._mark(join(change.path, marks.OPAQUE_NAME))

    def _mark(self, path: bytes) -> None:
        self._writer.add(Entry(path, kinds.FILE))

    def _visible(self, visible: Visible) -> None:
        if stat.S_ISSOCK(visible.st.st_mode):
            return
        fd, at = self._open(visible)
        try:
            name = visible.path + b"/" if visible.is_dir and visible.path else visible.path or b"./"
            entry = describe(name, visible.st, fd, at=at)
            self._restore_owner(entry, visible)
            if visible.is_dir:
                self._writer.add(entry)
            elif not self._writer.add_link(entry, visible.st):
                self._content(entry, visible)
        finally:
            if visible.source is not None:
                os.close(fd)

    def _open(self, visible: Visible) -> tuple[int, bytes]:
        """Return a descriptor and the name in it, b"" for the descriptor itself, which is ours if it has a source."""
        if visible.source is None:
            return visible.fd, visible.name
        return self._lower.open(visible.source, os.O_PATH), b""

    def _restore_owner(self, entry: Entry, visible: Visible) -> None:
        origin = visible.origin
        if origin is None or stat.S_IFMT(origin.st.st_mode) != stat.S_IFMT(visible.st.st_mode):
            return
        owner = self._owners.of(origin.layer, origin.path)
        if owner is not None:
            overlay_owner(entry, owner, single_id=self._single_id)

    def _content(self, entry: Entry, visible: Visible) -> None:
        if entry.kind != kinds.FILE:
            self._writer.add(entry)
            return
        fd = self._open_content(visible.data or visible.source, visible)
        try:
            entry.size = os.fstat(fd).st_size
            self._writer.add(entry, fd)
        finally:
            os.close(fd)

    def _open_content(self, found: Found | None, visible: Visible) -> int:
        if found is not None:
            return self._lower.open(found, os.O_RDONLY)
        return open_readable(visible.fd, visible.name)


def open_readable(directory: int, name: bytes) -> int:
    """Open the regular file `name` of `directory` for reading; an OSError names it."""
    try:
        fd = os.open(name, _FILE, dir_fd=directory)
    except OSError as error:
        raise OSError(error.errno, os.strerror(error.errno or 0), os.fsdecode(name)) from error
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise InvalidInput("read", name, "it was replaced while it was read")
    return fd


def capture(
    uppers: list[tuple[bytes, str]],
    below: Below,
    staging: str,
    *,
    ignore: frozenset[bytes],
    space: str,
    single_id: bool,
    give: bool = False,
    on_event: OnEvent,
) -> dict[str, object]:
    """Make a layer in `staging` of what `uppers`, each a prefix and a directory, change of the layers below.

    With `give` the layer takes their files, which nobody may change any more, and is not synced: the caller sees to it.
    """
    with making(staging, below, space=space, single_id=single_id, sync=not give) as made, Digester() as digester:
        writer = Writer(made, digester, "commit", on_event, give=give)
        capturing = Capture(writer, made.lower, LowerOwners(below.trees, below.tables), single_id=single_id)
        for prefix, directory in sorted(uppers):
            capturing.add(Walk(directory, prefix, made.lower, ignore).changes())
        return writer.finish()


def capture_directory(
    source: str, staging: str, *, space: str, single_id: bool, on_event: OnEvent
) -> dict[str, object]:
    """Make a base layer in `staging` of the plain directory `source`, without what is mounted in it.

    Sockets and devices 0:0 are left out; InvalidInput for names that a layer cannot hold.
    """
    fd = os.open(source, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with making(staging, Below([], []), space=space, single_id=single_id) as made, Digester() as digester:
            writer = Writer(made, digester, "import", on_event)
            _plain(fd, writer)
            return writer.finish()
    finally:
        os.close(fd)


def _plain(root: int, writer: Writer) -> None:
    top = os.fstat(root)
    writer.add(describe(b"./", top, root))
    with Descent(root) as down:
        levels = [(b"", _names(down.fd))]
        while levels:
            path, names = levels[-1]
            if not names:
                levels.pop()
                if levels:
                    down.leave()
                continue
            name = names.pop()
            st = os.stat(name, dir_fd=down.fd, follow_symlinks=False)
            inner = join(path, name)
            if _plain_entry(down.fd, name, inner, st, writer) and st.st_dev == top.st_dev:
                down.enter(name)
                levels.append((inner, _names(down.fd)))


def _plain_entry(directory: int, name: bytes, path: bytes, st: os.stat_result, writer: Writer) -> bool:
    """Write one entry and tell whether it is a directory."""
    if name.startswith(marks.WHITEOUT_PREFIX):
        raise InvalidInput("import", path, "a layer cannot hold names that begin with .wh.", "rename it")
    if stat.S_ISSOCK(st.st_mode) or marks.is_whiteout_device(st):
        return False
    if stat.S_ISDIR(st.st_mode):
        writer.add(describe(path + b"/", st, directory, at=name))
        return True
    entry = describe(path, st, directory, at=name)
    if writer.add_link(entry, st):
        return False
    if entry.kind != kinds.FILE:
        writer.add(entry)
        return False
    fd = open_readable(directory, name)
    try:
        entry.size = os.fstat(fd).st_size
        writer.add(entry, fd)
    finally:
        os.close(fd)
    return False


def _names(fd: int) -> list[bytes]:
    return sorted((os.fsencode(text) for text in os.listdir(fd)), reverse=True)
