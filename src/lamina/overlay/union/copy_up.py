"""Copy-up: giving an entry of a lower layer its copy in the upper, with all that it is, at once or not at all.

A copy is made in the work directory and renamed in. It keeps data and holes (sharing blocks where the file system can),
owner, mode, xattrs with ACLs, and times to the nanosecond; its directory's times do not change by it. It remembers its
origin, and its directory that it holds such copies (`impure`), as the kernel's driver wants them.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from contextlib import suppress

from lamina.overlay.format import is_mark
from lamina.overlay.union.branch import DT_LNK, DT_REG, join
from lamina.overlay.union.lend import lend
from lamina.overlay.union.lower import Lower
from lamina.overlay.union.node import UPPER, Directory, Node, Pin
from lamina.overlay.union.tree import Tree, failed
from lamina.overlay.union.upper import Upper

#: xattrs that a file system may refuse to take over without the copy being wrong for it.
_OPTIONAL = (b"security.selinux", b"system.nfs4_acl", b"system.richacl")

#: Why an attribute of somebody else's file cannot be had: a label, an ACL of ids that are not in this namespace.
_NOT_FOR_US = (errno.EPERM, errno.EACCES, errno.EINVAL, errno.EOPNOTSUPP, errno.ENODATA)


class CopyUp:
    """Copies nodes of `tree` up into its upper. The caller holds the tree's lock."""

    __slots__ = ("_tree", "_upper")

    def __init__(self, tree: Tree, upper: Upper) -> None:
        self._tree = tree
        self._upper = upper

    def node(self, node: Node, *, size: int | None = None, writing: bool = False) -> None:
        """Make the node be in the upper; nothing happens if it is. Of a file's data only `size` bytes are copied.

        What this process may not read of a foreign layer is EACCES, or with `writing` begins empty.
        """
        if writing and size != 0 and not self.can_read(node):
            size = 0
        if isinstance(node, Directory):
            self.directory(node)
        elif node.rank != UPPER:
            self._file(node, size)
        elif node.data is not None:
            self._take_data(node, size)

    def can_read(self, node: Node) -> bool:
        """Tell whether the data can be had: False for a file of a foreign layer that is closed to this process."""
        if node.rank == UPPER or node.kind != DT_REG or not self._tree.owners.foreign:
            return True
        try:
            os.close(self._tree.open(node, os.O_RDONLY))
        except PermissionError:
            return False
        return True

    def directory(self, node: Directory) -> None:
        """Make the directory, and those above it, be in the upper. ENOENT for a removed one."""
        missing = []
        while node.rank != UPPER:
            missing.append(node)
            assert node.parent is not None, "the root is in the upper from the start"
            node = node.parent
        if missing and missing[-1].dead is not None:
            raise failed(errno.ENOENT, missing[-1].name)
        while missing:
            self._directory(missing.pop())

    def _directory(self, node: Directory) -> None:
        branch, path = self._tree.where(node)
        st = branch.stat(path)
        with self._upper.staged() as temp:
            os.mkdir(temp, 0o700, dir_fd=self._upper.work.fd)
            self._metadata(branch, path, st, temp)
            closed = branch.foreign and self._tree.listing(node).unreadable
            if closed:  # what is in it cannot be shown, and so begins empty
                self._upper.set_mark(self._upper.work, temp, b"opaque", b"y")
            self._publish(node, temp)
        node.rank = UPPER
        node.ranks = [UPPER, *node.ranks]
        node.opacity = b""
        if closed:
            node.opacity, node.lowers = b"y", []
            self._tree.listing(node).unreadable = False

    def _file(self, node: Node, size: int | None) -> None:
        if node.pin is not None:
            raise failed(errno.ESTALE, node.name)  # a pinned lower file is kept by its path, never by a descriptor
        parent = node.parent
        assert parent is not None
        branch, path = self._tree.where(node)
        st = branch.stat(path)
        alive = self._tree.listing(parent).get(node.name) is node
        if alive:
            self.directory(parent)
        with self._upper.staged() as temp:
            self._copy(node, st, temp, size)
            self._metadata(branch, path, st, temp)
            if not alive:
                self._keep_nameless(node, temp)
                return
            if st.st_nlink > 1:
                self._publish_linked(node, branch, path, st.st_nlink, temp)
            else:
                self._publish(node, temp)
                node.rank = UPPER

    def _copy(self, node: Node, st: os.stat_result, temp: bytes, size: int | None) -> None:
        """Make `temp` an entry of the type of the node, with its data."""
        work = self._upper.work.fd
        if node.kind == DT_REG and size == 0:
            os.mknod(temp, stat.S_IFREG | 0o600, dir_fd=work)
        elif node.kind == DT_REG:
            branch, path = self._tree.where_data(node)
            copy = os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=work)
            try:
                branch.copy_data(path, copy, size)
                if self._upper.sync:
                    os.fsync(copy)
            finally:
                os.close(copy)
        elif node.kind == DT_LNK:
            os.symlink(self._tree.readlink(node), temp, dir_fd=work)
        else:
            self._upper.owners.mknod(work, temp, stat.S_IFMT(st.st_mode) | 0o600, st.st_rdev)

    def _metadata(self, branch: Lower, path: bytes, st: os.stat_result, temp: bytes) -> None:
        """Give `temp` the owner, mode, attributes, origin and times of what it is a copy of, in the order that keeps
        them.
        """
        work = self._upper.work
        own = work.stat(temp)
        if (own.st_uid, own.st_gid) != (st.st_uid, st.st_gid):
            self._upper.owners.chown(work.fd, temp, st.st_uid, st.st_gid)
        _copy_xattrs(branch, path, work.proc + temp, lenient=branch.foreign)
        indexed = stat.S_ISDIR(st.st_mode) or st.st_nlink == 1 or self._upper.indexed
        origin = self._tree.numbers.origin(branch, path) if indexed else b""
        if origin:
            with suppress(OSError):  # user.* is refused on symbolic links and devices: the number then changes
                self._upper.set_mark(work, temp, b"origin", origin)
        if not stat.S_ISLNK(
            st.st_mode
        ):  # after the attributes, which a closed mode would refuse; an ACL agrees with it
            self._upper.owners.chmod(work.fd, temp, stat.S_IMODE(st.st_mode))
        os.utime(temp, ns=(st.st_atime_ns, st.st_mtime_ns), dir_fd=work.fd, follow_symlinks=False)

    def _publish(self, node: Node, temp: bytes) -> None:
        parent = node.parent
        assert parent is not None
        path = parent.upper_path()
        times = self._upper.branch.stat(path)
        self._mark_impure(parent)
        self._upper.publish(temp, join(path, node.name), into=path)
        self._tree.listing(parent).covered.add(node.name)
        self.restore_times(path, times)

    def _publish_linked(self, node: Node, branch: Lower, path: bytes, links: int, temp: bytes) -> None:
        """Publish the copy of a file that has several names in its layer, so that all of them show it.

        Without an index the copy is alone, as with the kernel's driver: the other names keep the old file.
        """
        tree, upper = self._tree, self._upper
        index = upper.index_path(tree.numbers.origin(branch, path)) if upper.indexed else b""
        tree.unregister(node)
        if index and upper.add_index(temp, index, branch.index):
            upper.set_indexed_nlink(index, links)
            node.index = index
            tree.register(node, upper.work.stat(index))
        else:
            tree.part(node)
        self._publish(node, temp)
        node.rank = UPPER

    def name(self, node: Node, parent: Directory, name: bytes) -> None:
        """Make the very name of the node be in the upper."""
        self.node(node)
        if node.index and not self.has_name(node, join(parent.upper_path(), name)):
            self.link_up(node, parent, name)

    def has_name(self, node: Node, path: bytes) -> bool:
        """Tell whether the name of the node whose path is `path` is in the upper."""
        if not node.index:
            return node.rank == UPPER
        try:
            self._upper.branch.stat(path)
        except FileNotFoundError:
            return False
        return True

    def link_up(self, node: Node, parent: Directory, name: bytes) -> None:
        """Make the name of an indexed node be in the upper, whose data already are."""
        upper = self._upper
        self.directory(parent)
        path = parent.upper_path()
        links = upper.indexed_nlink(node.index, upper.work.stat(node.index))
        times = upper.branch.stat(path)
        lend(lambda: upper.link(upper.work, node.index, upper.branch, join(path, name)), (upper.branch, path))
        upper.set_indexed_nlink(node.index, links)
        self._tree.listing(parent).covered.add(name)
        self.restore_times(path, times)

    def _keep_nameless(self, node: Node, temp: bytes) -> None:
        """Let the copy of a file whose name is gone live on behind a descriptor."""
        node.pin = Pin(os.open(temp, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._upper.work.fd))
        node.rank = UPPER
        os.unlink(temp, dir_fd=self._upper.work.fd)

    def _take_data(self, node: Node, size: int | None) -> None:
        """Give a metacopy file of the upper its data. The mark goes last: until then the old data count."""
        branch, path = self._tree.where(node)
        st = branch.stat(path)
        with self._upper.staged() as temp:
            self._copy(node, st, temp, size)
            self._metadata(branch, path, st, temp)
            self._publish(node, temp)
        node.data = None

    def _mark_impure(self, parent: Directory) -> None:
        if not parent.impure:
            self._upper.set_mark(self._upper.branch, parent.upper_path(), b"impure", b"y")
            parent.impure = True

    def restore_times(self, path: bytes, times: os.stat_result) -> None:
        """Give a directory of the upper back the times that it had."""
        with self._upper.branch.near(path) as (fd, name):
            os.utime(name, ns=(times.st_atime_ns, times.st_mtime_ns), dir_fd=fd, follow_symlinks=False)


def copy_xattrs(source: bytes, target: bytes) -> None:
    """Copy the attributes of one path to another, but for overlayfs's marks; neither path's last link is followed."""
    try:
        names = [os.fsencode(name) for name in os.listxattr(source, follow_symlinks=False)]
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.EPERM):
            return
        raise
    _set_xattrs(target, names, lambda name: os.getxattr(source, name, follow_symlinks=False), lenient=False)


def _copy_xattrs(branch: Lower, path: bytes, target: bytes, *, lenient: bool) -> None:
    """Copy the attributes of an entry; with `lenient`, what this process may not read or set is left out."""
    try:
        names = branch.listxattr(path)
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.EPERM) or (lenient and error.errno == errno.EACCES):
            return
        raise
    _set_xattrs(target, names, lambda name: branch.getxattr(path, name), lenient=lenient)


def _set_xattrs(target: bytes, names: list[bytes], read: Callable[[bytes], bytes], *, lenient: bool) -> None:
    for name in names:
        if is_mark(name):
            continue
        try:
            os.setxattr(target, name, read(name), follow_symlinks=False)
        except OSError as error:
            optional = name in _OPTIONAL and error.errno in (errno.EOPNOTSUPP, errno.EPERM)
            if not optional and not (lenient and error.errno in _NOT_FOR_US):
                raise
