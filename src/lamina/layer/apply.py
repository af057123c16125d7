"""Entries of a layer become a directory of changes in overlayfs's format.

The rules are those of the OCI image specification, "Applying Changesets": later entries replace earlier ones. Nothing
is made outside of the tree: `directories` resolves each name from its root. What hides names of the layers below is
`hiding`'s.
"""

from __future__ import annotations

import errno
import os
import stat

from lamina.errors import InvalidInput
from lamina.layer.content import Content
from lamina.layer.directories import Directories
from lamina.layer.framing import FramingWriter
from lamina.layer.hiding import Hiding
from lamina.layer.lower import Lower
from lamina.layer.owners import LowerOwners
from lamina.layer.restore import Restorer
from lamina.layer.target import Target
from lamina.linux import files
from lamina.overlay import format as marks
from lamina.overlay.names import join, parts_of
from lamina.tar import entry as kinds
from lamina.tar.entry import Entry

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_LITERAL = 1 << 20


class Applier:
    """Makes one layer in `staging` from entries that are added one by one.

    `literal` is shared with whoever reads or writes the archive: the bytes of it that are not content of the tree, in
    order, since the last record of the framing.
    """

    def __init__(
        self,
        staging: int,
        *,
        lower: Lower,
        lower_owners: LowerOwners,
        framing: FramingWriter,
        restorer: Restorer,
        space: str,
        literal: bytearray,
    ) -> None:
        self._lower = lower
        self._framing = framing
        self._restorer = restorer
        self._literal = literal
        self._target = Target(staging, self._on_displaced)
        self._directories = Directories(self._target, lower, lower_owners, single_id=restorer.single_id)
        self._hiding = Hiding(self._target, lower, self._directories, space=space)
        self.displaced: list[tuple[bytes, int, bytes]] = []
        #: Bytes of content and number of entries of the archive.
        self.content = 0
        self.entries = 0

    def close(self) -> None:
        """Close the tree's descriptors."""
        self._target.__exit__(None, None, None)

    @property
    def complete(self) -> bool:
        """Whether the tree is the same over any other layers below: nothing in it was taken from them."""
        return not self._directories.depends and not self._directories.implied

    # Entries

    def add(self, entry: Entry, content: Content) -> None:
        """Make `entry`; InvalidInput names it where that cannot be."""
        self.entries += 1
        if len(self._literal) >= _LITERAL:
            self.flush()
        parts = parts_of(entry.name)
        try:
            self._add(entry, parts, content)
        except OSError as error:
            if error.errno in (errno.ENAMETOOLONG, errno.EFBIG, errno.EINVAL):
                raise InvalidInput("apply", entry.name, error) from error
            raise OSError(error.errno, os.strerror(error.errno or 0), os.fsdecode(entry.name)) from error

    def _add(self, entry: Entry, parts: list[bytes], content: Content) -> None:
        if not parts:
            if entry.kind != kinds.DIRECTORY:
                raise InvalidInput("apply", entry.name, "the top of a layer can only be a directory")
            self._directories.name(b"", entry)
            return
        last = parts[-1]
        if last.startswith(marks.WHITEOUT_PREFIX):
            self._hiding.note(entry.name, parts)
            return
        if entry.kind == kinds.CHARDEV and not entry.major and not entry.minor:
            self._hiding.note_device(parts)
            return
        directory = self._directories.resolve(parts[:-1], entry.name)
        path = join(directory, last)
        if entry.kind == kinds.FILE:
            self._file(entry, path, directory, last, content)
        elif entry.kind == kinds.DIRECTORY:
            self._target.make_directory(path)
            self._directories.name(path, entry)
        elif entry.kind == kinds.HARDLINK:
            self._hard_link(entry, path, directory, last)
        else:
            self._special(entry, path, directory, last)

    def _file(self, entry: Entry, path: bytes, directory: bytes, name: bytes, content: Content) -> None:
        fd = content.link(self._target.open_directory(directory), name)
        if fd < 0:
            fd = self._create(path, directory, name)
        try:
            self._record(entry, path)
            content.write_to(fd, entry)
            self._restorer.on_fd(fd, entry, path)
        finally:
            os.close(fd)
        self.content += entry.size

    def _create(self, path: bytes, directory: bytes, name: bytes) -> int:
        parent = self._target.open_directory(directory)
        try:
            return os.open(name, _NEW_FILE, 0o600, dir_fd=parent)
        except FileExistsError:
            self._target.displace(path)
            return os.open(name, _NEW_FILE, 0o600, dir_fd=parent)

    def _record(self, entry: Entry, path: bytes) -> None:
        if entry.extents is None:
            if entry.size:
                self._framing.add(self._literal, path, 0, entry.size)
                self._literal.clear()
            return
        for offset, length in entry.extents:
            if length:
                self._framing.add(self._literal, path, offset, length)
                self._literal.clear()

    def _special(self, entry: Entry, path: bytes, directory: bytes, name: bytes) -> None:
        def make(parent: int) -> None:
            if entry.kind == kinds.SYMLINK:
                if not entry.link or b"\0" in entry.link:
                    raise InvalidInput("apply", entry.name, "the link has no usable target")
                os.symlink(entry.link, name, dir_fd=parent)
            elif entry.kind == kinds.FIFO:
                os.mkfifo(name, 0o600, dir_fd=parent)
            else:
                self._device(entry, path, parent, name)

        self._target.replacing(path, make, directory)
        self._restorer.on_name(self._target.open_directory(directory), name, entry, path)

    def _device(self, entry: Entry, path: bytes, parent: int, name: bytes) -> None:
        kind = stat.S_IFCHR if entry.kind == kinds.CHARDEV else stat.S_IFBLK
        try:
            os.mknod(name, kind | 0o600, os.makedev(entry.major, entry.minor), dir_fd=parent)
        except (PermissionError, OverflowError) as error:
            if isinstance(error, OverflowError):
                raise InvalidInput("apply", entry.name, "the device number is too large") from error
            # In a user namespace devices cannot be made: the table of owners has it, an empty file its place.
            os.close(os.open(name, _NEW_FILE, 0o600, dir_fd=parent))
            self._restorer.note_device(path, entry)

    # Hard links

    def _hard_link(self, entry: Entry, path: bytes, directory: bytes, name: bytes) -> None:
        parts = parts_of(entry.link)
        if not parts:
            raise InvalidInput("apply", entry.name, "the link has no usable target")
        head = self._directories.resolve(parts[:-1], entry.name)
        target = join(head, parts[-1])
        st = self._target.lstat(target)
        if st is None:
            self._copy_up(entry, target, head, parts[-1])
        elif stat.S_ISDIR(st.st_mode):
            raise InvalidInput("apply", entry.name, "a hard link to a directory")
        if target == path:
            return
        if target.startswith(path + b"/"):
            raise InvalidInput("apply", entry.name, "the link replaces its own target")

        def make(parent: int) -> None:
            source = self._target.open_directory(head)
            os.link(parts[-1], name, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)

        self._target.replacing(path, make, directory)
        self._restorer.note_link(path, target)

    def _copy_up(self, entry: Entry, target: bytes, head: bytes, name: bytes) -> None:
        """Make the target of a link across layers a file of this one, as the kernel does before it links."""
        found = self._lower.find(target)
        if found is None or not stat.S_ISREG(found.st.st_mode):
            raise InvalidInput("apply", entry.name, f"its target {os.fsdecode(entry.link)!r} is not in the layer")
        self._directories.depends = True
        source = self._lower.open(found, os.O_RDONLY)
        try:
            fd = self._create(target, head, name)
            try:
                files.copy_data(source, fd)
                self._restorer.on_fd(fd, self._directories.describe(found, source, target), target)
            finally:
                os.close(fd)
        finally:
            os.close(source)

    # The end

    def finish(self) -> None:
        """Write the marks, and give the directories their metadata: nothing is added any more."""
        self._hiding.write()
        self._directories.settle_top()
        metadata = self._directories.metadata
        # In reverse order children come before the directory that holds them.
        for path in sorted(metadata, reverse=True):
            self._restorer.on_fd(self._target.open_directory(path), metadata[path], path)
        self.flush()

    def flush(self) -> None:
        """Put what `literal` holds into the framing."""
        if self._literal:
            self._framing.add(self._literal)
            self._literal.clear()

    def _on_displaced(self, path: bytes, place: bytes | None, is_directory: bool) -> None:
        if place is not None:
            self.displaced.append((path, self._framing.count, place))
        self._restorer.forget(path, is_directory=is_directory)
        if is_directory:
            self._directories.forget(path)
