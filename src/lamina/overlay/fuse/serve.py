"""A union as a FUSE file system: what each request asks of the tree.

Opens are stateless (OPEN, OPENDIR, CREATE and FLUSH are left to ENOSYS, after which the kernel asks no more), so the
kernel keeps pages and listings between opens, and a file is copied up when it is first written to. Names and attributes
are valid for ever, since nobody else changes the layers; that a name does not exist is remembered too.
"""

from __future__ import annotations

import errno
import itertools
import os
import stat
import threading
import time
from collections.abc import Callable

from lamina.linux.handle import fallocate
from lamina.linux.namespaces import in_first_user_namespace
from lamina.linux.process import CAP_SYS_ADMIN, has_capability
from lamina.overlay.fuse import offsets, wire
from lamina.overlay.fuse.ahead import Ahead
from lamina.overlay.fuse.files import Files, read_into
from lamina.overlay.fuse.lending import Lending
from lamina.overlay.fuse.session import Body, Handler, PatientLock, Request, Session
from lamina.overlay.union.branch import DT_DIR, DT_REG
from lamina.overlay.union.make import Spec
from lamina.overlay.union.node import UPPER, Directory, Node
from lamina.overlay.union.tracing import TracedTree, attributes_of, writer_of
from lamina.overlay.union.tree import Tree, failed
from lamina.overlay.union.upper import Upper
from lamina.overlay.union.write import Writer

#: INIT's flags that this file system is made for.
WANTED = (
    wire.ASYNC_READ
    | wire.ASYNC_DIO
    | wire.DONT_MASK
    | wire.DO_READDIRPLUS
    | wire.NO_OPEN_SUPPORT
    | wire.NO_OPENDIR_SUPPORT
    | wire.PARALLEL_DIROPS
    | wire.POSIX_ACL
    | wire.CACHE_SYMLINKS
    | wire.HANDLE_KILLPRIV_V2
    | wire.SETXATTR_EXT
)

_FOREVER = 1 << 30  # seconds
_NEGATIVE = wire.ENTRY_OUT.pack(0, 0, _FOREVER, 0, 0, 0, *[0] * 16)
_FORGOTTEN = -1  # the id of a node that its name must not be answered with any more
_UNKNOWN = 0xFFFFFFFF  # the inode number of what this process may not look at
_DOTS = ((1, b"."), (2, b".."))  # the cookies of a listing are placed behind these

_EITHER_TIME = wire.FATTR_ATIME | wire.FATTR_MTIME
_NOW = wire.FATTR_ATIME_NOW | wire.FATTR_MTIME_NOW

_CAPABILITY = b"security.capability\0"

_PRIVILEGED = stat.S_ISUID | stat.S_ISGID


class FileSystem:
    """Answers requests from `tree`, and changes it through `upper` if there is one.

    `open_files` bounds the descriptors that are kept. `served_by` tells it of its session. `sync` says whether fsync
    reaches the disk (not if volatile), `copy_renamed` what becomes of a lower directory that is renamed; with
    `passthrough` the kernel reads large files of layers itself.
    """

    def __init__(
        self,
        tree: Tree,
        upper: Upper | None,
        *,
        open_files: int = 1024,
        sync: bool = True,
        copy_renamed: bool = False,
        passthrough: bool = False,
    ) -> None:
        self._tree = tree
        self._passthrough = passthrough
        self._lending: Lending | None = None
        self._sync = sync
        self.notify: Callable[[int, bytes], None] = lambda _code, _body: None
        self._writer = None
        if upper:
            self._writer = writer_of(tree)(tree, upper, kept=lambda node: node.lookups > 0, copy_renamed=copy_renamed)
        copy_up = self._writer.copy_up if self._writer else None
        self._attributes = attributes_of(tree)(tree, copy_up)
        self._files = Files(tree, copy_up, limit=open_files)
        self._ahead = Ahead(tree, self._files)
        self._root_is_privileged = in_first_user_namespace()
        self._lock = threading.Lock()  # of the ids and counts below
        self._ids = itertools.count(wire.ROOT + 1)
        self._nodes: dict[int, Node] = {wire.ROOT: tree.root}
        tree.root.id, tree.root.lookups = wire.ROOT, 1

    def served_by(self, session: Session) -> None:
        """Let `session`, which is to run, send the kernel messages that it did not ask for.

        Its threads let others take requests before they wait for the tree.
        """
        self.notify = session.notify
        self._tree.lock = PatientLock(session.step_aside)
        if self._passthrough:
            self._lending = Lending(session.fd, self._tree, self._files)

    def close(self) -> None:
        """Close the files that are kept open and let go of all nodes."""
        self._ahead.close()
        self._files.clear()
        for node in self._nodes.values():
            node.pin = None
        self._nodes.clear()

    def relayer(self, layers: list[str]) -> None:
        """Put other lower layers, base first, under the mount, and let the kernel forget what shows something else.

        Not for a session's thread: what the kernel forgets may be locked by a request that this one answers.
        """
        from lamina.overlay.union.relayer import relayer

        for directory, names in relayer(self._tree, layers, kept=lambda node: node.lookups > 0):
            if directory.id <= 0:
                continue
            self.notify(wire.NOTIFY_INVAL_INODE, wire.INVAL_INODE_OUT.pack(directory.id, 0, 0))
            for name in names:
                body = wire.INVAL_ENTRY_OUT.pack(directory.id, len(name), 0) + name + b"\0"
                self.notify(wire.NOTIFY_INVAL_ENTRY, body)

    def wanted(self) -> int:
        """Return the flags of INIT to ask for."""
        wanted = WANTED | wire.PASSTHROUGH if self._passthrough else WANTED
        # A listing with attributes looks up what nobody asked for.
        return wanted & ~wire.DO_READDIRPLUS if isinstance(self._tree, TracedTree) else wanted

    def handlers(self) -> dict[int, Handler]:
        """Return the table for a session."""
        # Where not all may be read, or somebody wants to know what is, the kernel has to ask before it opens.
        asks = self._tree.owners.foreign or self._passthrough or isinstance(self._tree, TracedTree)
        asked = {wire.OPEN: self._open, wire.RELEASE: self._release} if asks else {}
        return asked | {
            wire.LOOKUP: self._lookup,
            wire.FORGET: self._forget,
            wire.BATCH_FORGET: self._batch_forget,
            wire.GETATTR: self._getattr,
            wire.SETATTR: self._setattr,
            wire.READLINK: self._readlink,
            wire.SYMLINK: self._symlink,
            wire.MKNOD: self._mknod,
            wire.MKDIR: self._mkdir,
            wire.TMPFILE: self._tmpfile,
            wire.UNLINK: self._unlink,
            wire.RMDIR: self._rmdir,
            wire.RENAME: self._rename,
            wire.RENAME2: self._rename2,
            wire.LINK: self._link,
            wire.READ: self._read,
            wire.WRITE: self._write,
            wire.FALLOCATE: self._fallocate,
            wire.COPY_FILE_RANGE: self._copy_file_range,
            wire.LSEEK: self._lseek,
            wire.FSYNC: self._fsync,
            wire.FSYNCDIR: self._fsyncdir,
            wire.STATFS: self._statfs,
            wire.GETXATTR: self._getxattr,
            wire.LISTXATTR: self._listxattr,
            wire.SETXATTR: self._setxattr,
            wire.REMOVEXATTR: self._removexattr,
            wire.READDIR: self._readdir,
            wire.READDIRPLUS: self._readdirplus,
            wire.DESTROY: lambda _: b"",
        }

    # Nodes and their ids.

    def _node(self, request: Request) -> Node:
        node = self._nodes.get(request.node)
        if node is None:
            raise failed(errno.ESTALE)
        return node

    def _directory(self, request: Request) -> Directory:
        node = self._nodes.get(request.node)
        if not isinstance(node, Directory):
            raise failed(errno.ESTALE if node is None else errno.ENOTDIR)
        return node

    def _changer(self) -> Writer:
        if self._writer is None:
            raise failed(errno.EROFS)
        return self._writer

    def _remember(self, node: Node) -> bool:
        """Count one more lookup of the node; False where it was just forgotten and has to be found again."""
        with self._lock:
            if node.id == _FORGOTTEN:
                return False
            if not node.id:
                node.id = next(self._ids)
                self._nodes[node.id] = node
            node.lookups += 1
        return True

    def _found(self, directory: Directory, name: bytes) -> tuple[Node, os.stat_result] | None:
        """Return the node of a name, counted, with its state."""
        while True:
            found = self._tree.find_state(directory, name)
            if found is None or self._remember(found[0]):
                return found
            self._tree.forget(found[0])

    def _attributes_of(self, node: Node, st: os.stat_result) -> tuple[int, ...]:
        return wire.attributes(st, node.ino, self._tree.nlink(node, st))

    def _entry(self, node: Node, st: os.stat_result) -> bytes:
        return wire.ENTRY_OUT.pack(node.id, 0, _FOREVER, _FOREVER, 0, 0, *self._attributes_of(node, st))

    def _new_entry(self, made: tuple[Node, os.stat_result]) -> bytes:
        self._remember(made[0])
        return self._entry(*made)

    def _lookup(self, request: Request) -> bytes:
        name = request.name()
        directory = self._directory(request)
        if directory.listing is None:
            request.step_aside()
        found = self._found(directory, name)
        if found is None:
            if len(name) > 255:
                raise failed(errno.ENAMETOOLONG, name)
            return _NEGATIVE
        return self._entry(*found)

    def _forget(self, request: Request) -> None:
        self._forget_one(request.node, wire.FORGET_IN.unpack_from(request.body)[0])

    def _batch_forget(self, request: Request) -> None:
        count, _ = wire.BATCH_FORGET_IN.unpack_from(request.body)
        one = wire.FORGET_ONE
        for at in range(count):
            self._forget_one(*one.unpack_from(request.body, wire.BATCH_FORGET_IN.size + at * one.size))

    def _forget_one(self, node_id: int, count: int) -> None:
        with self._lock:
            node = self._nodes.get(node_id)
            if node is None or node_id == wire.ROOT:
                return
            node.lookups -= count
            if node.lookups > 0:
                return
            del self._nodes[node_id]
            node.id = 0 if node.index else _FORGOTTEN
        self._files.drop(node_id)
        self._tree.forget(node)

    # State.

    def _getattr(self, request: Request) -> bytes:
        node = self._node(request)
        return wire.ATTR_OUT.pack(_FOREVER, 0, 0, *self._attributes_of(node, self._tree.stat(node)))

    def _setattr(self, request: Request) -> bytes:
        node = self._node(request)
        fields = wire.SETATTR_IN.unpack_from(request.body)
        if node.rank != UPPER:
            request.step_aside()  # to copy it up
        valid, _, _, size, _, atime, mtime, _, atime_ns, mtime_ns, _, mode, _, uid, gid = fields
        if valid & wire.FATTR_SIZE:
            os.ftruncate(self._files.writing(node, size=size).fd, size)
        if valid & wire.FATTR_KILL_SUIDGID:
            self._drop_privileges(node)
        owner = times = None
        if valid & (wire.FATTR_UID | wire.FATTR_GID):
            owner = uid if valid & wire.FATTR_UID else -1, gid if valid & wire.FATTR_GID else -1
        if valid & _EITHER_TIME:
            now = time.time_ns() if valid & _NOW else 0
            at = now if valid & wire.FATTR_ATIME_NOW else atime * wire.SECOND + atime_ns
            mt = now if valid & wire.FATTR_MTIME_NOW else mtime * wire.SECOND + mtime_ns
            if valid & _EITHER_TIME == _EITHER_TIME:
                times = at, mt
            else:
                st = self._tree.stat(node)
                times = (at, st.st_mtime_ns) if valid & wire.FATTR_ATIME else (st.st_atime_ns, mt)
        if owner or times or valid & wire.FATTR_MODE:
            permissions = stat.S_IMODE(mode) if valid & wire.FATTR_MODE else None
            st = self._attributes.change(node, owner=owner, mode=permissions, times=times)
        else:
            st = self._tree.stat(node)
        return wire.ATTR_OUT.pack(_FOREVER, 0, 0, *self._attributes_of(node, st))

    def _drop_privileges(self, node: Node) -> None:
        """Take set-user-id, and set-group-id where the group may execute, off a file that is changed."""
        mode = self._tree.stat(node).st_mode
        if not stat.S_ISREG(mode) or not mode & _PRIVILEGED:
            return
        taken = stat.S_ISUID | (stat.S_ISGID if mode & stat.S_IXGRP else 0)
        self._attributes.chmod(node, stat.S_IMODE(mode) & ~taken)

    def _written_by(self, request: Request, node: Node) -> None:
        """Do what a write does to set-id bits, where the kernel does not say whether its caller has CAP_FSETID."""
        if request.uid or not self._root_is_privileged:
            self._drop_privileges(node)

    def _statfs(self, _: Request) -> bytes:
        st = self._tree.statvfs()
        return wire.STATFS_OUT.pack(
            st.f_blocks, st.f_bfree, st.f_bavail, st.f_files, st.f_ffree, st.f_bsize, 255, st.f_frsize, 0
        )

    # Names.

    def _readlink(self, request: Request) -> bytes:
        return self._tree.readlink(self._node(request))

    def _make(self, request: Request, name: bytes, spec: Spec) -> bytes:
        return self._new_entry(self._changer().make(self._directory(request), name, spec))

    def _symlink(self, request: Request) -> bytes:
        name, target = request.names(0)
        owner = (request.uid, request.gid)
        return self._make(request, name, Spec(stat.S_IFLNK | 0o777, target=target, owner=owner))

    def _mknod(self, request: Request) -> bytes:
        mode, rdev, umask, _ = wire.MKNOD_IN.unpack_from(request.body)
        spec = Spec(mode, rdev=wire.decode_device(rdev), owner=(request.uid, request.gid), umask=umask)
        return self._make(request, request.name(wire.MKNOD_IN.size), spec)

    def _mkdir(self, request: Request) -> bytes:
        mode, umask = wire.MKDIR_IN.unpack_from(request.body)
        spec = Spec(stat.S_IFDIR | stat.S_IMODE(mode), owner=(request.uid, request.gid), umask=umask)
        return self._make(request, request.name(wire.MKDIR_IN.size), spec)

    def _tmpfile(self, request: Request) -> bytes:
        _, mode, umask, _ = wire.CREATE_IN.unpack_from(request.body)
        spec = Spec(stat.S_IFREG | stat.S_IMODE(mode), owner=(request.uid, request.gid), umask=umask)
        made = self._changer().make_nameless(self._directory(request), spec)
        return self._new_entry(made) + wire.OPEN_OUT.pack(0, 0, 0)

    def _unlink(self, request: Request) -> bytes:
        self._changer().unlink(self._directory(request), request.name())
        return b""

    def _rmdir(self, request: Request) -> bytes:
        self._changer().rmdir(self._directory(request), request.name())
        return b""

    def _rename(self, request: Request) -> bytes:
        (new_directory,) = wire.RENAME_IN.unpack_from(request.body)
        return self._rename_to(request, new_directory, wire.RENAME_IN.size, 0)

    def _rename2(self, request: Request) -> bytes:
        new_directory, flags, _ = wire.RENAME2_IN.unpack_from(request.body)
        return self._rename_to(request, new_directory, wire.RENAME2_IN.size, flags)

    def _rename_to(self, request: Request, new_directory: int, names: int, flags: int) -> bytes:
        target = self._nodes.get(new_directory)
        if not isinstance(target, Directory):
            raise failed(errno.ESTALE)
        old, new = request.names(names)
        request.step_aside()  # directories may have to be copied up
        self._changer().rename(self._directory(request), old, target, new, flags)
        return b""

    def _link(self, request: Request) -> bytes:
        (node_id,) = wire.LINK_IN.unpack_from(request.body)
        node = self._nodes.get(node_id)
        if node is None:
            raise failed(errno.ESTALE)
        request.step_aside()
        self._changer().link(node, self._directory(request), request.name(wire.LINK_IN.size))
        return self._new_entry((node, self._tree.stat(node)))

    # Data.

    def _open(self, request: Request) -> bytes:
        """Refuse what this process may not read, tell of what is traced, lend what the kernel may read itself."""
        flags, _ = wire.OPEN_IN.unpack_from(request.body)
        node = self._node(request)
        if isinstance(self._tree, TracedTree):
            self._tree.opened(node, flags)
        if self._tree.owners.foreign:
            request.step_aside()
            self._ask_for(node, flags)
        if self._lending is not None:
            return self._lending.open(node, flags)
        return wire.OPEN_OUT.pack(0, wire.FOPEN_KEEP_CACHE, 0)

    def _ask_for(self, node: Node, flags: int) -> None:
        """Raise where a file of somebody else's layer may not be read; let one that is to be written begin empty."""
        with self._tree.lock:
            if self._writer and flags & os.O_ACCMODE != os.O_RDONLY and not self._writer.copy_up.can_read(node):
                self._writer.copy_up.node(node, writing=True)
            elif node.kind == DT_REG and node.rank != UPPER:
                self._files.reading(node)

    def _release(self, request: Request) -> bytes:
        if self._lending is not None:
            self._lending.release(wire.RELEASE_IN.unpack_from(request.body)[0])
        return b""

    def _read(self, request: Request) -> Body:
        _, offset, size, _ = wire.READ_IN.unpack_from(request.body)
        node = self._node(request)
        if not offset and node.rank != UPPER:
            self._ahead.used(node)
        file = self._files.reading(node)
        room = request.scratch[:size]
        got = read_into(file.fd, room, offset, before_waiting=request.step_aside)
        return room[:got]

    def _write(self, request: Request) -> bytes:
        _, offset, size, flags, _, _, _ = wire.WRITE_IN.unpack_from(request.body)
        node = self._node(request)
        if node.rank != UPPER:
            request.step_aside()
        file = self._files.writing(node)
        data = request.view[wire.WRITE_DATA : wire.WRITE_DATA + size]
        done = os.pwrite(file.fd, data, offset)
        if flags & wire.WRITE_KILL_SUIDGID:
            self._drop_privileges(node)
        return wire.WRITE_OUT.pack(done, 0)

    def _fallocate(self, request: Request) -> bytes:
        _, offset, length, mode = wire.FALLOCATE_IN.unpack_from(request.body)
        request.step_aside()
        node = self._node(request)
        fallocate(self._files.writing(node).fd, mode, offset, length)
        self._written_by(request, node)
        return b""

    def _copy_file_range(self, request: Request) -> bytes:
        _, offset, out_id, _, out_offset, length, _ = wire.COPY_FILE_RANGE_IN.unpack_from(request.body)
        out = self._nodes.get(out_id)
        if out is None:
            raise failed(errno.ESTALE)
        request.step_aside()
        target = self._files.writing(out)  # first: it may be the source as well, which is then read from the copy
        source = self._files.reading(self._node(request))
        done = os.copy_file_range(source.fd, target.fd, min(length, 1 << 30), offset, out_offset)
        self._written_by(request, out)
        return wire.WRITE_OUT.pack(done, 0)

    def _lseek(self, request: Request) -> bytes:
        _, offset, whence = wire.LSEEK_IN.unpack_from(request.body)
        file = self._files.reading(self._node(request))
        return wire.LSEEK_OUT.pack(os.lseek(file.fd, offset, whence))  # nobody else uses the descriptor's position

    def _fsync(self, request: Request) -> bytes:
        _, flags = wire.FSYNC_IN.unpack_from(request.body)
        request.step_aside()
        if self._sync and self._writer:
            file = self._files.reading(self._node(request))
            if file.upper:
                (os.fdatasync if flags & 1 else os.fsync)(file.fd)
        return b""

    def _fsyncdir(self, request: Request) -> bytes:
        node = self._directory(request)
        request.step_aside()
        if self._sync and node.dead is None and self._tree.where(node)[0].index == len(self._tree.branches):
            fd = self._tree.open(node, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
        return b""

    # Extended attributes.

    def _getxattr(self, request: Request) -> Body | int:
        node = self._node(request)
        if node.plain and request.body[wire.GETXATTR_IN.size :] == _CAPABILITY:
            return errno.ENODATA  # asked at every first write and change of owner
        size, _ = wire.GETXATTR_IN.unpack_from(request.body)
        value = self._attributes.getxattr(node, request.name(wire.GETXATTR_IN.size))
        return _sized(value, size)

    def _listxattr(self, request: Request) -> Body:
        size, _ = wire.GETXATTR_IN.unpack_from(request.body)
        names = self._attributes.listxattr(self._node(request))
        if any(name.startswith(b"trusted.") for name in names) and not self._may_trust(request):
            names = [name for name in names if not name.startswith(b"trusted.")]
        return _sized(b"".join(name + b"\0" for name in names), size)

    def _may_trust(self, request: Request) -> bool:
        """Tell whether the caller is shown attributes in trusted.*, as xattr(7) says."""
        return not request.uid and self._root_is_privileged and has_capability(request.pid, CAP_SYS_ADMIN)

    def _setxattr(self, request: Request) -> bytes:
        size, flags, extended, _ = wire.SETXATTR_IN.unpack_from(request.body)
        name = request.name(wire.SETXATTR_IN.size)
        start = wire.SETXATTR_IN.size + len(name) + 1
        node = self._node(request)
        if node.rank != UPPER:
            request.step_aside()
        self._attributes.setxattr(node, name, bytes(request.body[start : start + size]), flags)
        if extended & wire.SETXATTR_ACL_KILL_SGID:
            mode = self._tree.stat(node).st_mode
            if mode & stat.S_ISGID:
                self._attributes.chmod(node, stat.S_IMODE(mode) & ~stat.S_ISGID)
        return b""

    def _removexattr(self, request: Request) -> bytes:
        self._attributes.removexattr(self._node(request), request.name())
        return b""

    # Listings.

    def _readdir(self, request: Request) -> bytes:
        directory = self._directory(request)

        def entry(cookie: int, name: bytes, ino: int, kind: int) -> bytes | None:
            return wire.DIRENT.pack(ino, cookie, len(name), kind) + name

        def child(cookie: int, name: bytes) -> bytes | None:
            node = self._tree.find(directory, name)
            return None if node is None else entry(cookie, name, node.ino, node.kind)

        return self._list(request, directory, wire.DIRENT.size, entry, child)

    def _readdirplus(self, request: Request) -> bytes:
        directory = self._directory(request)

        def dot(cookie: int, name: bytes, ino: int, kind: int) -> bytes | None:
            # No node: the kernel takes the name alone, and counts no lookup.
            return wire.DIRENT_PLUS.pack(*[0] * 22, ino, cookie, len(name), kind) + name

        def child(cookie: int, name: bytes) -> bytes | None:
            found = self._found(directory, name)
            if found is None:
                return None
            node, st = found
            attributes = self._attributes_of(node, st)
            return (
                wire.DIRENT_PLUS.pack(
                    node.id, 0, _FOREVER, _FOREVER, 0, 0, *attributes, node.ino, cookie, len(name), node.kind
                )
                + name
            )

        return self._list(request, directory, wire.DIRENT_PLUS.size, dot, child)

    def _list(
        self,
        request: Request,
        directory: Directory,
        header: int,
        dot: Callable[[int, bytes, int, int], bytes | None],
        child: Callable[[int, bytes], bytes | None],
    ) -> bytes:
        """Return as many entries behind the asked offset as the asked size takes."""
        _, offset, size, _ = wire.READ_IN.unpack_from(request.body)
        if not offset:
            self._ahead.used(directory)
        records: list[bytes] = []
        if directory.listing is None:
            request.step_aside()  # its places have to be read
        if directory.dead is not None:
            return b""
        shift = len(_DOTS)
        listing = self._tree.readable(directory)
        start, end = offsets.split(offset)
        end = end or listing.last + shift
        base = offsets.base(end)
        for cookie, name in _DOTS:
            if cookie > start:
                above = directory if cookie == 1 else directory.parent or directory
                record = dot(cookie + base, name, above.ino, DT_DIR) or b""
                records.append(record.ljust(wire.dirent_size(name, header), b"\0"))
                size -= len(records[-1])
        for cookie, name, found in listing.after(max(start - shift, 0)):
            room = wire.dirent_size(name, header)
            if room > size or cookie + shift > end:  # asked before it is looked up, since a lookup is counted
                break
            try:
                made = child(cookie + shift + base, name)
            except OSError:  # a foreign layer's, or one with a mark that leads nowhere: it is listed, as by the kernel
                made = dot(cookie + shift + base, name, _UNKNOWN, found.kind)
            if made is not None:
                records.append(made.ljust(room, b"\0"))
                size -= room
        return b"".join(records)


def _sized(value: bytes, size: int) -> bytes:
    """Return the answer to a request for `size` bytes of an attribute, which may ask for its length alone."""
    if not size:
        return wire.GETXATTR_OUT.pack(len(value), 0)
    if len(value) > size:
        raise failed(errno.ERANGE)
    return value
