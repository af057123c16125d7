"""A branch that is a tar archive, never unpacked: read once for its names, and then at the offsets of its contents.

A compressed archive is unpacked into an unnamed temporary file first, since no place in the middle of a gzip or zstd
stream can be read without all that comes before it. The file keeps the whole archive for as long as the branch is used.
"""

from __future__ import annotations

import errno
import io
import os
import stat
import tempfile
from typing import BinaryIO

from lamina.errors import InvalidInput
from lamina.overlay import format as marks
from lamina.overlay.union.branch import Marks, Scan
from lamina.overlay.union.node import Pin, Place
from lamina.overlay.union.owners import Owners
from lamina.overlay.union.tarindex import Folder, Inode, read_tree
from lamina.overlay.union.virtual import Virtual, make_state
from lamina.tar.compress import Decompressed

_SET_ID = stat.S_ISUID | stat.S_ISGID
_PIECE = 1 << 20


class TarBranch(Virtual):
    """The archive in the file `path`, over the layers whose roots are `below`, topmost first.

    Root is shown the owners in the archive, and so is who can record owners. To everybody else all is their own, as
    with tar -x, and set-id bits of other owners are left out. InvalidInput names what no layer may be.
    """

    __slots__ = ("_archive", "_own", "_root")

    def __init__(self, path: str, index: int, owners: Owners, below: list[Place]) -> None:
        super().__init__(index, owners)
        self._own = (os.geteuid(), os.getegid()) if os.geteuid() and not owners.records else None
        try:
            self._archive = _open_plain(path)
            self._root = read_tree(self._archive.fd, below)
        except InvalidInput as error:
            inside = "" if error.doing == "read" else f"{error.subject}: "
            raise InvalidInput("use the archive", path, inside + error.reason, error.hint) from error

    def close(self) -> None:
        """Let go of the archive, which readers may still hold."""
        del self._archive

    def _at(self, path: bytes) -> Inode:
        here: Inode = self._root
        if path:
            for part in path.split(b"/"):
                found = here.children.get(part) if isinstance(here, Folder) else None
                if found is None:
                    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), os.fsdecode(path))
                here = found
        return here

    def scan(self, path: bytes, opacity: marks.Opacity) -> Scan:
        """Return what the directory holds and hides."""
        inode = self._at(path)
        assert isinstance(inode, Folder)
        found = Scan()
        found.entries = {name: child.mode >> 12 for name, child in inode.children.items()}
        found.whiteouts = {name: name for name in inode.whiteouts}
        return found

    def marks_of(self, path: bytes) -> Marks:
        """Return the marks of the directory."""
        inode = self._at(path)
        return Marks(b"y" if isinstance(inode, Folder) and inode.opaque else b"")

    def stat(self, path: bytes) -> os.stat_result:
        """Return the state of the entry itself."""
        inode = self._at(path)
        mode, owner = inode.mode, (inode.uid, inode.gid)
        if self._own is not None and owner != self._own:
            owner = self._own
            mode &= ~_SET_ID if stat.S_ISREG(mode) else ~0
        st = make_state(
            mode=mode,
            ino=inode.ino,
            device=self.device,
            links=inode.links,
            owner=owner,
            size=inode.size,
            mtime=inode.mtime,
            rdev=inode.rdev,
        )
        return self._owners.shown(st, None)

    def readlink(self, path: bytes) -> bytes:
        """Return the target of the symbolic link."""
        return self._at(path).target

    def listxattr(self, path: bytes) -> list[bytes]:
        """Return the names of the entry's attributes."""
        return list(self._at(path).xattrs)

    def getxattr(self, path: bytes, attribute: bytes) -> bytes:
        """Return an attribute; ENODATA where there is none."""
        value = self._at(path).xattrs.get(attribute)
        return super().getxattr(path, attribute) if value is None else value

    def reader(self, path: bytes) -> BinaryIO:
        """Open the file for reading; the archive stays open until the last reader is closed."""
        inode = self._at(path)
        if inode.source is not None:
            return inode.source.branch.reader(inode.source.path)
        return io.BufferedReader(_Member(self._archive, inode))

    def copy_data(self, path: bytes, fd: int, size: int | None) -> None:
        """Make the empty file `fd` hold the first `size` bytes of the file, or all, holes included."""
        inode = self._at(path)
        if inode.source is not None:
            inode.source.branch.copy_data(inode.source.path, fd, size)
            return
        end = inode.size if size is None else min(size, inode.size)
        for start, stop, at in _stretches(inode):
            if start < end:
                _copy(self._archive.fd, at, fd, start, min(stop, end) - start)
        os.ftruncate(fd, end)


class _Member(io.RawIOBase):
    """The content of a file of the archive."""

    def __init__(self, archive: Pin, inode: Inode) -> None:
        self._archive = archive
        self._size = inode.size
        self._stretches = _stretches(inode)
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}.get(whence)
        if start is None or start + offset < 0:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        self._position = start + offset
        return self._position

    def readinto(self, buffer: object) -> int:
        with memoryview(buffer) as view, view.cast("B") as into:  # type: ignore[arg-type]  # typeshed has no Buffer here
            count = self._read_at(self._position, into)
        self._position += count
        return count

    def _read_at(self, position: int, into: memoryview) -> int:
        """Read one stretch, or a part of the hole before it."""
        for start, stop, at in self._stretches:
            if position < start:
                break
            if position < stop:
                with into[: stop - position] as part:
                    return os.preadv(self._archive.fd, [part], at + position - start)
        else:
            start = self._size
        count = max(0, min(len(into), start - position))
        into[:count] = bytes(count)
        return count


def _stretches(inode: Inode) -> list[tuple[int, int, int]]:
    """Return (start, end, offset in the archive) of each stretch of the file that is no hole, in order."""
    if inode.extents is None:
        return [(0, inode.size, inode.offset)]
    found = []
    at = inode.offset
    for start, length in inode.extents:
        found.append((start, start + length, at))
        at += length
    return found


def _copy(source: int, offset: int, target: int, start: int, count: int) -> None:
    os.lseek(target, start, os.SEEK_SET)
    while count:
        done = os.sendfile(target, source, offset, min(count, 1 << 30))
        if not done:
            raise OSError(errno.EIO, "the archive became shorter while it was read")
        offset += done
        count -= done


def _open_plain(path: str) -> Pin:
    """Open the archive, or what it is when unpacked."""
    archive = Pin(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
    stream = Decompressed(archive.fd)
    if stream.compression == "none":
        return archive
    with tempfile.TemporaryFile() as plain:
        while data := stream.read():
            plain.write(data)
        plain.flush()
        return Pin(os.dup(plain.fileno()))
