"""Entries of a layer become a directory of changes in overlayfs's format.

The rules are those of the OCI image specification, "Applying Changesets": later entries replace earlier ones, whiteouts
act on the layers below alone, wherever they stand in the archive. Nothing is made outside of the tree: each name is
resolved from its root, links on the way are resolved here (as if the tree, over the layers below, were `/`), and the
kernel never follows one.
"""

from __future__ import annotations

import errno
import os
import stat

from lamina.errors import InvalidInput
from lamina.layer.content import Content
from lamina.layer.describe import describe, overlay_owner
from lamina.layer.framing import FramingWriter
from lamina.layer.lower import Found, Lower
from lamina.layer.owners import LowerOwners
from lamina.layer.restore import Restorer
from lamina.layer.target import Target
from lamina.linux import files
from lamina.overlay import format as marks
from lamina.overlay.names import depth, join, parts_of, whiteout_of
from lamina.tar import entry as kinds
from lamina.tar.entry import Entry

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_MAX_LINKS = 40
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
        self._lower_owners = lower_owners
        self._framing = framing
        self._restorer = restorer
        self._space = space
        self._literal = literal
        self._staging = staging
        self._target = Target(staging, self._on_displaced)
        self._metadata: dict[bytes, Entry] = {}
        self._implied: set[bytes] = set()
        self._whiteouts: list[tuple[bytes, bytes]] = []  # (directory as named, hidden name), in order
        self._opaque: list[bytes] = []
        self._hiding: set[bytes] = set()  # directories that hide all of the layers below
        self.displaced: list[tuple[bytes, int, bytes]] = []
        self._depends = False
        #: Bytes of content and number of entries of the archive.
        self.content = 0
        self.entries = 0

    def close(self) -> None:
        """Close the tree's descriptors."""
        self._target.__exit__(None, None, None)

    @property
    def complete(self) -> bool:
        """Whether the tree is the same over any other layers below: nothing in it was taken from them."""
        return not self._depends and not self._implied

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
            self._metadata[b""] = entry
            return
        last = parts[-1]
        if last.startswith(marks.WHITEOUT_PREFIX):
            self._note_whiteout(entry, parts)
            return
        if entry.kind == kinds.CHARDEV and not entry.major and not entry.minor:
            # The device 0:0 of an upper that was packed as it is: on disk it hides a name, whatever was meant.
            self._whiteouts.append((b"/".join(parts[:-1]), last))
            return
        directory = self._resolve(parts[:-1], entry.name)
        path = join(directory, last)
        if entry.kind == kinds.FILE:
            self._file(entry, path, directory, last, content)
        elif entry.kind == kinds.DIRECTORY:
            self._target.make_directory(path)
            self._metadata[path] = entry
            self._implied.discard(path)
        elif entry.kind == kinds.HARDLINK:
            self._hard_link(entry, path, directory, last)
        else:
            self._special(entry, path, directory, last)

    def _note_whiteout(self, entry: Entry, parts: list[bytes]) -> None:
        directory = b"/".join(parts[:-1])
        if parts[-1] == marks.OPAQUE_NAME:
            self._opaque.append(directory)
        elif not parts[-1].startswith(marks.META_PREFIX):
            self._whiteouts.append((directory, whiteout_of(entry.name, parts[-1])))

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
        head = self._resolve(parts[:-1], entry.name)
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
        self._depends = True
        source = self._lower.open(found, os.O_RDONLY)
        try:
            fd = self._create(target, head, name)
            try:
                files.copy_data(source, fd)
                self._restorer.on_fd(fd, self._describe(found, source, target), target)
            finally:
                os.close(fd)
        finally:
            os.close(source)

    # Directories

    def _resolve(self, parts: list[bytes], name: bytes) -> bytes:
        """Return the path, free of links, of the directory that `parts` lead to; make what is missing of it."""
        path = b"/".join(parts)
        if path in self._target.directories:
            return path
        found = self._walk(parts, name, make=True)
        assert found is not None
        return found

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
                if not make and (_is_below(path, self._hiding) or not self._is_lower_directory(path)):
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
        found = None if _is_below(path, self._hiding) else self._lower.find(path)
        if found is None or not stat.S_ISLNK(found.st.st_mode):
            return None
        self._depends = True
        fd = self._lower.open(found, os.O_PATH)
        try:
            return os.readlink(b"", dir_fd=fd)
        finally:
            os.close(fd)

    def _imply(self, path: bytes) -> None:
        """Make the directory at `path`, which the archive does not name (yet)."""
        self._target.make_directory(path)
        self._metadata[path] = self._like_lower(path)
        self._implied.add(path)

    def _like_lower(self, path: bytes) -> Entry:
        """Return the metadata of the directory at `path` in the layers below, or root's with mode 0755."""
        found = self._lower.find(path)
        if found is not None and found.is_dir:
            fd = self._lower.open(found, os.O_RDONLY | os.O_DIRECTORY)
            try:
                return self._describe(found, fd, path)
            finally:
                os.close(fd)
        entry = Entry(path, kinds.DIRECTORY)
        entry.mode = 0o755
        return entry

    def _describe(self, found: Found, fd: int, path: bytes) -> Entry:
        entry = describe(path, found.st, fd)
        owner = self._lower_owners.of(found.layer, found.path)
        if owner is not None:
            overlay_owner(entry, owner, single_id=self._restorer.single_id)
        return entry

    def _is_lower_directory(self, path: bytes) -> bool:
        return self._lower.directory(path) is not None

    # The end

    def finish(self) -> None:
        """Write the marks, and give the directories their metadata: nothing is added any more."""
        self._write_marks()
        if b"" not in self._metadata:
            self._metadata[b""] = root = self._like_lower(b"")
            root.mtime = 0 if self._is_plain(root) else root.mtime
            self._depends |= not self._is_plain(root)
        # In reverse order children come before the directory that holds them.
        for path in sorted(self._metadata, reverse=True):
            self._restorer.on_fd(self._target.open_directory(path), self._metadata[path], path)
        self.flush()

    @staticmethod
    def _is_plain(root: Entry) -> bool:
        """Tell whether the top directory is as it would be over nothing: almost no archive names it."""
        return (root.mode, root.uid, root.gid, root.xattrs) == (0o755, 0, 0, {})

    def flush(self) -> None:
        """Put what `literal` holds into the framing."""
        if self._literal:
            self._framing.add(self._literal)
            self._literal.clear()

    def _existing(self, named: bytes) -> bytes | None:
        """Return the directory that holds a mark, None where neither this layer nor those below have it."""
        try:
            path = self._walk(parts_of(named), named, make=False)
        except InvalidInput:  # a file of this layer stands there, and hides everything itself
            return None
        if path is None:
            self._depends = True
        return path

    def _write_marks(self) -> None:
        # The upper ones first: in what one of them hides, the others have nothing to hide.
        pending: list[tuple[bytes, bytes | None]] = [*self._whiteouts, *((named, None) for named in self._opaque)]
        for named, name in sorted(pending, key=lambda mark: (depth(mark[0]), mark[1] is not None)):
            directory = self._existing(named)
            if directory is None or _is_below(directory, self._hiding):
                continue
            path = directory if name is None else join(directory, name)
            if name is None or path in self._target.directories:
                self._hide(path)
            else:
                self._whiteout(directory, name)

    def _hide(self, path: bytes) -> None:
        """Make a directory of this layer hide those below, if there are any."""
        if path in self._hiding:
            return
        lower = self._lower.directory(path)
        if lower is None:
            self._hiding.add(path)
            self._depends = True
        elif path:
            self._hiding.add(path)
            marks.set_opaque(self._target.open_directory(path), self._space)
        else:
            self._hiding.add(path)
            # The kernel merges the tops of all layers without asking for their marks: hide the names one by one.
            self._depends = True
            for name in self._lower.names(lower):
                if name in self._target.directories:
                    self._hide(name)
                else:
                    self._whiteout(b"", name)

    def _whiteout(self, directory: bytes, name: bytes) -> None:
        """Hide `name`; where there is nothing to hide, the mark would show as an entry that cannot be looked up."""
        if not self._is_lower_directory(directory):
            self._depends = True
        elif self._target.lstat(join(directory, name)) is None:
            marks.write_whiteout(self._target.open_directory(directory), name, self._space)

    def _on_displaced(self, path: bytes, place: bytes | None, is_directory: bool) -> None:
        if place is not None:
            self.displaced.append((path, self._framing.count, place))
        self._restorer.forget(path, is_directory=is_directory)
        if is_directory:
            below = path + b"/"
            for known in [known for known in self._metadata if known == path or known.startswith(below)]:
                del self._metadata[known]
                self._implied.discard(known)


def _is_below(path: bytes, directories: set[bytes]) -> bool:
    """Tell whether `path` is one of `directories` or lies in one."""
    while path not in directories:
        if not path:
            return False
        path = path.rpartition(b"/")[0]
    return True
