"""State and extended attributes of nodes: mode, owner, times, size, xattrs.

overlayfs's own attributes are kept from whoever uses the union: they are not listed, and a name of that kind is stored
with one `overlay.` more, as the kernel does for an overlay inside an overlay.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from typing import TypeVar

from lamina.overlay.format import TRUSTED, USER, is_mark
from lamina.overlay.union.branch import DT_DIR, DT_LNK, DT_REG, LONG
from lamina.overlay.union.copy_up import CopyUp
from lamina.overlay.union.lower import Lower
from lamina.overlay.union.node import UPPER, Directory, Node, Pin
from lamina.overlay.union.tree import Tree, failed

_Result = TypeVar("_Result")

_SPACES = (TRUSTED.encode(), USER.encode())
_ESCAPE = b"overlay."
_DEFAULT_ACL = b"system.posix_acl_default"
_CAPABILITY = b"security.capability"

# A directory descriptor with a path from it, or None with a path below /proc that is to be followed, and what has to be
# held while the path is used.
_Target = tuple[int | None, bytes, Pin | None]


class Attributes:
    """Reads and changes attributes of nodes of `tree`; without `copy_up` every change is EROFS."""

    __slots__ = ("_copy_up", "_tree")

    def __init__(self, tree: Tree, copy_up: CopyUp | None) -> None:
        self._tree = tree
        self._copy_up = copy_up

    def _target(self, node: Node, *, size: int | None = None) -> _Target:
        """Bring the node up; return how calls that change the entry itself reach it. The caller holds the lock."""
        if self._copy_up is None:
            raise failed(errno.EROFS, node.name)
        if isinstance(node, Directory) and node.dead is not None:
            raise failed(errno.ENOENT, node.name)
        if node.rank != UPPER or node.data is not None:
            self._copy_up.node(node, size=size)
        if node.pin is not None:
            return None, b"/proc/self/fd/%d" % node.pin.fd, node.pin
        branch, path = self._tree.where_upper(node)
        if len(path) < LONG:
            return branch.fd, path or b".", None
        pin = Pin(branch.open(path, os.O_PATH))
        return None, b"/proc/self/fd/%d" % pin.fd, pin

    def chmod(self, node: Node, mode: int) -> None:
        """Set the permission bits; EOPNOTSUPP for a symbolic link."""
        if node.kind == DT_LNK:
            raise failed(errno.EOPNOTSUPP, node.name)
        with self._tree.lock:
            fd, path, _kept = self._target(node)
            self._tree.owners.chmod(fd, path, mode)

    def chown(self, node: Node, uid: int, gid: int) -> None:
        """Set the owner, and the group; -1 leaves one as it is."""
        with self._tree.lock:
            fd, path, _kept = self._target(node)
            self._tree.owners.chown(fd, path, uid, gid)

    def utime(self, node: Node, atime: int | None, mtime: int | None) -> None:
        """Set the times, in nanoseconds since the epoch; None leaves one as it is."""
        with self._tree.lock:
            fd, path, _kept = self._target(node)
            if atime is None or mtime is None:
                st = os.stat(path, dir_fd=fd, follow_symlinks=fd is None)
                atime = st.st_atime_ns if atime is None else atime
                mtime = st.st_mtime_ns if mtime is None else mtime
            os.utime(path, ns=(atime, mtime), dir_fd=fd, follow_symlinks=fd is None)

    def change(
        self, node: Node, *, owner: tuple[int, int] | None, mode: int | None, times: tuple[int, int] | None
    ) -> os.stat_result:
        """Set owner and group (-1 leaves one as it is), permission bits and both times, each unless None.

        Returns the state afterwards. All is one step for whoever takes the lock.
        """
        tree = self._tree
        with tree.lock:
            fd, path, _kept = self._target(node)
            if owner is not None:
                tree.owners.chown(fd, path, *owner)
            if mode is not None:
                if node.kind == DT_LNK:
                    raise failed(errno.EOPNOTSUPP, node.name)
                tree.owners.chmod(fd, path, mode)
            if times is not None:
                os.utime(path, ns=times, dir_fd=fd, follow_symlinks=fd is None)
            return tree.stat_now(node)

    def touch(self, node: Node) -> None:
        """Set both times to now."""
        with self._tree.lock:
            fd, path, _kept = self._target(node)
            os.utime(path, dir_fd=fd, follow_symlinks=fd is None)

    def truncate(self, node: Node, size: int) -> None:
        """Set the size of a file; of a file from below only so much is copied."""
        with self._tree.lock:
            fd, path, _kept = self._target(node, size=size)
            flags = os.O_WRONLY | os.O_CLOEXEC | (0 if fd is None else os.O_NOFOLLOW)
            opened = os.open(path, flags, dir_fd=fd)
        try:
            os.ftruncate(opened, size)
        finally:
            os.close(opened)

    # Extended attributes.

    def getxattr(self, node: Node, name: bytes) -> bytes:
        """Return the value; ENODATA where there is none."""
        if node.plain and name == _CAPABILITY:
            raise OSError(errno.ENODATA, "no capabilities")
        try:
            return self._reading(node, lambda branch, path: branch.getxattr(path, stored(name)))
        except OSError as error:
            if name == _CAPABILITY and error.errno == errno.ENODATA:
                node.plain = True
            raise

    def listxattr(self, node: Node) -> list[bytes]:
        """Return the names, sorted."""
        names = self._reading(node, lambda branch, path: branch.listxattr(path))
        return sorted(shown for name in names if (shown := shown_name(name)))

    def setxattr(self, node: Node, name: bytes, value: bytes, flags: int = 0) -> None:
        """Set an attribute; `flags` are os.XATTR_CREATE and os.XATTR_REPLACE."""
        with self._tree.lock:
            fd, path, _kept = self._target(node)
            os.setxattr(_by_path(fd, path), stored(name), value, flags, follow_symlinks=fd is None)
            self._changed(node, name)

    def removexattr(self, node: Node, name: bytes) -> None:
        """Remove an attribute; ENODATA, and no copy-up, where there is none."""
        if name.startswith(b"user.") and node.kind not in (DT_REG, DT_DIR):
            raise failed(errno.EPERM, node.name)  # xattr(7): these types have no user attributes
        self.getxattr(node, name)
        with self._tree.lock:
            fd, path, _kept = self._target(node)
            os.removexattr(_by_path(fd, path), stored(name), follow_symlinks=fd is None)
            self._changed(node, name)

    @staticmethod
    def _changed(node: Node, name: bytes) -> None:
        node.plain = False
        if isinstance(node, Directory) and name == _DEFAULT_ACL:
            node.default_acl = None

    def _reading(self, node: Node, read: Callable[[Lower | _Pinned, bytes], _Result]) -> _Result:
        def once(node: Node) -> _Result:
            if node.pin is not None:
                return read(_Pinned(node.pin), b"")
            if isinstance(node, Directory) and node.dead is not None:
                raise failed(errno.ENODATA, node.name)
            return read(*self._tree.where(node))

        return self._tree.steady(once, node)


class _Pinned:
    """Reads the attributes of an inode that has no name."""

    def __init__(self, pin: Pin) -> None:
        self._pin = pin

    def listxattr(self, _: bytes) -> list[bytes]:
        return [os.fsencode(name) for name in os.listxattr(b"/proc/self/fd/%d" % self._pin.fd)]

    def getxattr(self, _: bytes, attribute: bytes) -> bytes:
        return os.getxattr(b"/proc/self/fd/%d" % self._pin.fd, attribute)


def _by_path(fd: int | None, path: bytes) -> bytes:
    return path if fd is None else b"/proc/self/fd/%d/%b" % (fd, path)


def stored(name: bytes) -> bytes:
    """Return the name under which an attribute is stored: escaped if it would be a mark."""
    for space in _SPACES:
        if name.startswith(space):
            return space + _ESCAPE + name[len(space) :]
    return name


def shown_name(name: bytes) -> bytes:
    """Return the name under which a stored attribute is shown; b"" for a mark, which is not."""
    for space in _SPACES:
        if name.startswith(space + _ESCAPE):
            return space + name[len(space + _ESCAPE) :]
    return b"" if is_mark(name) else name


def granted(st: os.stat_result, mode: int, *, effective: bool) -> bool:
    """Tell whether owner and permission bits let this process do what os.R_OK, W_OK and X_OK in `mode` ask for."""
    uid, gid = (os.geteuid(), os.getegid()) if effective else (os.getuid(), os.getgid())
    if uid == 0:
        return not mode & os.X_OK or stat.S_ISDIR(st.st_mode) or bool(st.st_mode & 0o111)
    shift = 6 if st.st_uid == uid else 3 if st.st_gid in (gid, *os.getgroups()) else 0
    return (st.st_mode >> shift) & mode & 0o7 == mode & 0o7
