"""A branch: one layer seen alone, as a directory on this machine.

Paths are bytes relative to the layer's root, b"" for the root itself, and have no symbolic link as a component but
perhaps the last, which is never followed: every directory on the way was found to be one, and nobody else changes a
layer in use. The root is held by a descriptor, so a mount that is laid over it later cannot be entered by mistake.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import BinaryIO, Generic, TypeVar

from lamina.linux import handle
from lamina.linux.files import copy_data
from lamina.overlay import format as marks

_Given = TypeVar("_Given")

# A path that comes near PATH_MAX (4096 with its zero) is walked in pieces; /proc/self/fd/N/ may stand before it.
LONG = 3900

DT_DIR, DT_REG, DT_LNK = 4, 8, 10  # dirent.h; other types are the mode's top bits as well


class Scan:
    """What one layer's directory holds: entries by name with their type (DT_*), and what it hides.

    `whiteouts` maps a hidden name to the entry that hides it. `opaque` tells of an entry `.wh..wh..opq`, `unreadable`
    that this process may not look into a foreign directory, which may hold anything.
    """

    __slots__ = ("entries", "opaque", "unreadable", "whiteouts")

    def __init__(self) -> None:
        self.entries: dict[bytes, int] = {}
        self.whiteouts: dict[bytes, bytes] = {}
        self.opaque = False
        self.unreadable = False


class Marks:
    """The marks of a directory: how it treats lower ones, where those are or b"", whether it holds copied-up names."""

    __slots__ = ("impure", "opacity", "redirect")

    def __init__(self, opacity: marks.Opacity = b"", redirect: bytes = b"", *, impure: bool = False) -> None:
        self.opacity = opacity
        self.redirect = redirect
        self.impure = impure


class _Ready(Generic[_Given]):
    """What a `with` gives where there is nothing to be undone: contextlib's own cost more than most system calls."""

    __slots__ = ("_given",)

    def __init__(self, given: _Given) -> None:
        self._given = given

    def __enter__(self) -> _Given:
        return self._given

    def __exit__(self, *_: object) -> None:
        return None


class Branch:
    """A layer. `index` is its place, base first; the upper's is the number of layers. `close` when done.

    A `foreign` one belongs to somebody else: this process may not read all of it.
    """

    __slots__ = ("device", "fd", "foreign", "index", "proc")

    def __init__(self, root: str | bytes, index: int) -> None:
        self.index = index
        self.foreign = False
        self.fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self.device = os.fstat(self.fd).st_dev
        self.proc = b"/proc/self/fd/%d/" % self.fd

    def close(self) -> None:
        """Give the descriptor back; once."""
        os.close(self.fd)

    def stat(self, path: bytes) -> os.stat_result:
        """Return the state of the entry itself."""
        if len(path) < LONG:
            return os.stat(path or b".", dir_fd=self.fd, follow_symlinks=False)
        with self.near(path) as (fd, name):
            return os.stat(name, dir_fd=fd, follow_symlinks=False)

    def fstat(self, fd: int) -> os.stat_result:
        """Return the state of the open file `fd`, which is this branch's."""
        return os.fstat(fd)

    def open(self, path: bytes, flags: int, mode: int = 0) -> int:
        """Open the entry itself; the caller closes the descriptor. ELOOP for a symbolic link without O_PATH."""
        flags |= os.O_NOFOLLOW | os.O_CLOEXEC
        if len(path) < LONG:
            return os.open(path or b".", flags, mode, dir_fd=self.fd)
        with self.near(path) as (fd, name):
            return os.open(name, flags, mode, dir_fd=fd)

    def reader(self, path: bytes) -> BinaryIO:
        """Open the file for reading; the caller closes it."""
        return os.fdopen(self.open(path, os.O_RDONLY), "rb")

    def copy_data(self, path: bytes, fd: int, size: int | None) -> None:
        """Make the empty file `fd` hold the first `size` bytes of the file, or all, holes included."""
        source = self.open(path, os.O_RDONLY)
        try:
            copy_data(source, fd)
        finally:
            os.close(source)
        if size is not None and size < os.fstat(fd).st_size:
            os.ftruncate(fd, size)

    def listxattr(self, path: bytes) -> list[bytes]:
        """Return the names of the entry's attributes as they are stored."""
        with self.proc_path(path) as proc:
            return [os.fsencode(name) for name in os.listxattr(proc, follow_symlinks=False)]

    def getxattr(self, path: bytes, attribute: bytes) -> bytes:
        """Return a stored attribute; ENODATA where there is none."""
        with self.proc_path(path) as proc:
            return os.getxattr(proc, attribute, follow_symlinks=False)

    def redirect_of(self, path: bytes) -> bytes:
        """Return where the layers below hold the directory or the data of the metacopy file, or b""."""
        with self.near(path) as (fd, name):
            return marks.redirect_of(fd, at=name) or b""

    def is_metacopy(self, path: bytes) -> bool:
        """Tell whether the data of the file are in a layer below."""
        with self.near(path) as (fd, name):
            return marks.is_metacopy(fd, at=name)

    def handle(self, path: bytes) -> tuple[int, bytes] | None:
        """Return type and file handle of the entry, None where it has none."""
        try:
            with self.near(path) as (fd, name):
                return handle.name_to_handle_at(fd, name)
        except OSError:
            return None

    def uuid(self) -> bytes:
        """Return the UUID of the file system, zeros where it has none or the root may not be read."""
        try:
            fd = handle.open_for_ioctl(self.fd)
        except OSError:
            return bytes(16)
        try:
            return handle.file_system_uuid(fd)
        finally:
            os.close(fd)

    def statvfs(self) -> os.statvfs_result:
        """Return the numbers of the file system."""
        return os.fstatvfs(self.fd)

    def readlink(self, path: bytes) -> bytes:
        """Return the target of the symbolic link."""
        with self.near(path) as (fd, name):
            return os.readlink(name, dir_fd=fd)

    def near(self, path: bytes) -> AbstractContextManager[tuple[int, bytes]]:
        """Give a directory descriptor and a short path from it, for calls that take them; valid inside the block."""
        return _Ready((self.fd, path or b".")) if len(path) < LONG else self._walked(path)

    @contextmanager
    def _walked(self, path: bytes) -> Iterator[tuple[int, bytes]]:
        fd = os.open(b".", os.O_PATH | os.O_CLOEXEC, dir_fd=self.fd)
        try:
            while len(path) >= LONG:
                cut = path.rindex(b"/", 0, LONG)
                step = os.open(path[:cut], os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
                os.close(fd)
                fd, path = step, path[cut + 1 :]
            yield fd, path
        finally:
            os.close(fd)

    def proc_path(self, path: bytes) -> AbstractContextManager[bytes]:
        """Give a path for calls that take no directory descriptor (xattrs, scandir); valid inside the block."""
        return _Ready(self.proc + (path or b".")) if len(path) < LONG else self._walked_proc(path)

    @contextmanager
    def _walked_proc(self, path: bytes) -> Iterator[bytes]:
        with self._walked(path) as (fd, name):
            yield b"/proc/self/fd/%d/%b" % (fd, name)

    def names(self, path: bytes) -> list[bytes]:
        """Return the names in the directory as they lie on disk, sorted."""
        with self.proc_path(path) as proc:
            return sorted(os.listdir(proc))

    def remove(self, path: bytes) -> None:
        """Remove the entry with all that is in it; its absence is accepted."""
        pending = [path]
        while pending:
            with self.near(pending[-1]) as (fd, name):
                try:
                    os.unlink(name, dir_fd=fd)
                except FileNotFoundError:
                    pass
                except (IsADirectoryError, PermissionError):
                    try:
                        os.rmdir(name, dir_fd=fd)
                    except OSError as error:
                        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                            raise
                        above = pending[-1]
                        os.chmod(name, 0o700, dir_fd=fd)  # else its owner might not list and empty it
                        pending += [join(above, below) for below in self.names(above)]
                        continue
            pending.pop()

    def marks_of(self, path: bytes) -> Marks:
        """Return the marks of the directory, but for an entry `.wh..wh..opq`, which `scan` sees."""
        with self.near(path) as (fd, name):
            try:
                names = os.listxattr(b"/proc/self/fd/%d/%b" % (fd, name), follow_symlinks=False)
            except OSError:  # no attributes on this file system, or not for us
                return Marks()
            if not any("overlay" in attribute for attribute in names):
                return Marks()
            impure = any(attribute.endswith(".overlay.impure") for attribute in names)
            redirect = marks.redirect_of(fd, at=name) or b""
            return Marks(marks.opacity_of(fd, at=name), redirect, impure=impure)

    def scan(self, path: bytes, opacity: marks.Opacity) -> Scan:
        """Read the directory, whose own mark is `opacity`."""
        found = Scan()
        entries = found.entries
        special = []
        with self.proc_path(path) as proc, os.scandir(proc) as listing:
            for entry in listing:
                if entry.is_file(follow_symlinks=False):
                    entries[entry.name] = DT_REG
                elif entry.is_dir(follow_symlinks=False):
                    entries[entry.name] = DT_DIR
                elif entry.is_symlink():
                    entries[entry.name] = DT_LNK
                else:
                    special.append(entry.name)
        for name in special:
            self._take_special(found, path, name)
        if opacity == b"x":
            for name in [name for name, kind in entries.items() if kind == DT_REG]:
                if self._is_xattr_whiteout(join(path, name)):
                    del entries[name]
                    found.whiteouts[name] = name
        if marks.WHITEOUT_PREFIX in b"/".join(entries):  # asked once, for hardly any directory has such names
            for name in [name for name in entries if name.startswith(marks.WHITEOUT_PREFIX)]:
                take_named_mark(found, name)
        return found

    def _take_special(self, found: Scan, path: bytes, name: bytes) -> None:
        st = self.stat(join(path, name))
        if marks.is_whiteout_device(st):
            found.whiteouts[name] = name
        else:
            found.entries[name] = stat.S_IFMT(st.st_mode) >> 12

    def _is_xattr_whiteout(self, path: bytes) -> bool:
        with self.near(path) as (fd, name):
            return marks.is_whiteout(fd, name, self.stat(path), b"x")


def join(path: bytes, name: bytes) -> bytes:
    """Return the path of `name` in the directory `path`, which may be the root."""
    return path + b"/" + name if path else name


def take_named_mark(found: Scan, name: bytes) -> None:
    """Move an entry whose very name is a mark (`.wh.NAME`, `.wh..wh..opq`) from the entries to what it says."""
    found.entries.pop(name, None)
    if name == marks.OPAQUE_NAME:
        found.opaque = True
    elif hidden := marks.whited_out_name(name):
        found.whiteouts.setdefault(hidden, name)
