"""A union in this process: directories laid over each other, with the calls of `os`, without a mount or a privilege.

Paths are text or bytes, absolute or relative to the union's root; `..` and symbolic links stay inside, an absolute link
starting again at the union's root. Layers are base first. Errors are those of `os`, with the true errno.
"""

from __future__ import annotations

import errno
import io
import math
import os
import stat
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import IO, Any, BinaryIO, Literal

from lamina.overlay.in_use import refuse_mounted
from lamina.overlay.options import check_ours
from lamina.overlay.stack import check_apart
from lamina.overlay.union import whole
from lamina.overlay.union.attributes import granted
from lamina.overlay.union.branch import DT_DIR, DT_LNK, DT_REG
from lamina.overlay.union.change import Change
from lamina.overlay.union.make import Spec
from lamina.overlay.union.node import Directory, Node
from lamina.overlay.union.opening import FolderOf, Layer
from lamina.overlay.union.owners import read_options
from lamina.overlay.union.paths import StrPath
from lamina.overlay.union.staged import Staged
from lamina.overlay.union.tracing import attributes_of, tree_for, writer_of
from lamina.overlay.union.tree import failed
from lamina.overlay.union.upper import Upper
from lamina.overlay.union.view import View
from lamina.overlay.union.virtual import Virtual
from lamina.overlay.union.write import Writer


class Union(View):
    """`layers` (base first) laid over each other, with changes kept in the directory `upper`; without it, read-only.

    A layer is a directory, the file of a tar archive, compressed or not, or (file system, path) with a file system of
    fsspec, which is then only read.

    `work` is an empty directory on the upper's file system; without one a temporary directory stands beside the upper
    while the union is open, and a copied-up file parts from its hard links in a layer, as with the kernel's driver.
    Marks are written as `userxattr` says, or else as this process may. A directory of a layer that is renamed is
    redirected, or with `renames="copy"` copied up, which the kernel's driver can show to anybody. The layers must not
    change meanwhile, nor the upper by anybody else. `options` are those of `lamina.overlay.union.owners`. Use it as a
    context manager, or `close` it; it may be used by several threads.
    """

    def __init__(
        self,
        layers: Sequence[str | os.PathLike[str] | FolderOf],
        *,
        upper: str | os.PathLike[str] | None = None,
        work: str | os.PathLike[str] | None = None,
        userxattr: bool | None = None,
        sync: bool = True,
        renames: Literal["redirect", "copy"] = "redirect",
        options: Sequence[tuple[str, str]] = (),
        trace: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__()
        self._upper: Upper | None = None
        opened: list[Layer] = [layer if isinstance(layer, tuple) else os.fspath(layer) for layer in layers]
        check_ours(options)
        owners = read_options(options)
        if upper is not None:
            place = None if work is None else os.fspath(work)
            check_apart([layer for layer in opened if isinstance(layer, str)], os.fspath(upper), place or "")
            refuse_mounted(os.fspath(upper), place or "")
            self._upper = Upper(os.fspath(upper), place, len(opened), userxattr=userxattr, sync=sync, owners=owners)
        try:
            log = "" if trace is None else os.fspath(trace)
            self._tree = tree_for(opened, self._upper, owners=owners, trace=log, walks=True)
        except BaseException:
            self.close()
            raise
        self._streams = any(isinstance(branch, Virtual) for branch in self._tree.branches)
        self._writer = None
        if self._upper:
            self._writer = writer_of(self._tree)(self._tree, self._upper, copy_renamed=renames == "copy")
        self._attributes = attributes_of(self._tree)(self._tree, self._writer.copy_up if self._writer else None)

    def close(self) -> None:
        """Give layers and upper free; may be repeated. Files that are open stay so."""
        tree, self._tree = self._tree, None
        upper, self._upper = self._upper, None
        if tree is not None:
            tree.close()
        if upper is not None:
            upper.close()

    @property
    def closed(self) -> bool:
        """Whether the union was closed."""
        return self._tree is None

    def __enter__(self) -> Union:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_tree", None) is not None:
            self.close()

    def _changer(self) -> Writer:
        if self.closed or self._writer is None:
            raise failed(errno.EBADF if self.closed else errno.EROFS)
        return self._writer

    # Files.

    def access(self, path: StrPath, mode: int, *, effective_ids: bool = False, follow_symlinks: bool = True) -> bool:
        """Tell by owner and mode of the entry whether this process may use it as os.R_OK, W_OK and X_OK say."""
        try:
            st = self.stat(path, follow_symlinks=follow_symlinks)
        except OSError:
            return False
        if mode & os.W_OK and self._writer is None:
            return False
        return granted(st, mode, effective=effective_ids)

    def read_bytes(self, path: StrPath) -> bytes:
        """Return what a file holds."""
        with self.open(path, "rb") as file:
            data: bytes = file.read()
            return data

    def read_text(self, path: StrPath, encoding: str = "utf-8", errors: str | None = None) -> str:
        """Return what a file holds, as text."""
        with self.open(path, encoding=encoding, errors=errors) as file:
            text: str = file.read()
            return text

    def open(self, path: StrPath, mode: str = "r", buffering: int = -1, **text: Any) -> IO[Any]:
        """Open a file as the built-in open does; `text` are its encoding, errors and newline.

        The file object is the real file's: what is opened for writing was copied up, and stays what it is whatever
        happens to its name. What is read from a layer that is no directory has no descriptor.
        """
        if self._streams and mode.strip("bt") == "r" and (stream := self._stream(path)) is not None:
            return stream if "b" in mode else io.TextIOWrapper(stream, **text)
        return open(os.fspath(path), mode, buffering, opener=lambda _, flags: self.os_open(path, flags), **text)

    def _stream(self, path: StrPath) -> BinaryIO | None:
        """Open a file that is in no file system of this machine; None for every other and for what is no file."""
        node = self._walk(path, follow=True)[0]
        if node is None or node.kind != DT_REG or node.pin is not None:
            return None
        branch, place = self.tree.where_data(node)
        return branch.reader(place) if isinstance(branch, Virtual) else None

    def os_open(self, path: StrPath, flags: int, mode: int = 0o666) -> int:
        """Open a file as os.open does and return its descriptor, which the caller closes."""
        with self.tree.lock:
            if flags & os.O_CREAT and os.fsencode(path).endswith(b"/"):
                self._walk(os.fsencode(path).rstrip(b"/"), follow=False)  # where no such directory is, that comes first
                raise failed(errno.EISDIR, os.fsencode(path))
            node, name, parent = self._walk(path, follow=not flags & (os.O_NOFOLLOW | os.O_EXCL))
            if node is None:
                if not flags & os.O_CREAT:
                    raise failed(errno.ENAMETOOLONG if len(name) > 255 else errno.ENOENT, os.fsencode(path))
                node, _ = self._changer().make(parent, name, Spec(stat.S_IFREG | mode))
                # Also a file that its own mode closes is open to whoever made it.
                return self._open_made(node, flags, mode)
            if flags & os.O_CREAT and flags & os.O_EXCL:
                raise failed(errno.EEXIST, os.fsencode(path))
            if flags & os.O_TMPFILE == os.O_TMPFILE:
                return self._open_nameless(node, flags, mode)
            if flags & os.O_PATH:
                return self.tree.open(node, flags)
            if node.kind == DT_LNK:
                raise failed(errno.ELOOP, os.fsencode(path))
            writing = flags & os.O_ACCMODE != os.O_RDONLY or flags & os.O_TRUNC
            if node.kind == DT_DIR and (writing or flags & os.O_CREAT):
                raise failed(errno.EISDIR, os.fsencode(path))
            if node.kind == DT_REG and writing:
                self._changer().copy_up.node(node, size=0 if flags & os.O_TRUNC else None, writing=True)
            return self.tree.open(node, flags & ~(os.O_CREAT | os.O_EXCL))

    def _open_nameless(self, node: Node, flags: int, mode: int) -> int:
        if not isinstance(node, Directory):
            raise failed(errno.ENOTDIR, node.name)
        made, _ = self._changer().make_nameless(node, Spec(stat.S_IFREG | mode))
        return self.tree.open(made, flags & ~os.O_TMPFILE)

    def _open_made(self, node: Node, flags: int, mode: int) -> int:
        flags &= ~(os.O_CREAT | os.O_EXCL)
        try:
            return self.tree.open(node, flags)
        except PermissionError:
            st = self.tree.stat(node)
            self._attributes.chmod(node, 0o600)
            try:
                return self.tree.open(node, flags)
            finally:
                self._attributes.chmod(node, stat.S_IMODE(st.st_mode))

    def stage(self, path: StrPath, mode: int = 0o666) -> Staged:
        """Open a new file that gets the name only when it is published, in place of a file that has it."""
        with self.tree.lock:
            parent, name = self._place(path)
            return Staged(self.tree, self._changer(), parent, name, mode)

    def write_bytes(self, path: StrPath, data: bytes) -> int:
        """Make a file hold `data`; return their number."""
        with self.open(path, "wb") as file:
            return file.write(data)

    def write_text(self, path: StrPath, text: str, encoding: str = "utf-8", errors: str | None = None) -> int:
        """Make a file hold `text`; return the number of characters."""
        with self.open(path, "w", encoding=encoding, errors=errors) as file:
            return file.write(text)

    def truncate(self, path: StrPath, length: int) -> None:
        """Set the size of a file."""
        node = self._node(path)
        if node.kind != DT_REG or length < 0:
            raise failed(errno.EISDIR if node.kind == DT_DIR else errno.EINVAL, os.fsencode(path))
        self._attributes.truncate(node, length)

    def touch(self, path: StrPath, mode: int = 0o666, *, exist_ok: bool = True) -> None:
        """Make an empty file, or set the times of what has the name to now; without `exist_ok` that is EEXIST."""
        with self.tree.lock:
            if exist_ok and self.exists(path):
                self.utime(path)
            else:
                os.close(self.os_open(path, os.O_WRONLY | os.O_CREAT | (0 if exist_ok else os.O_EXCL), mode))

    # Names.

    def mkdir(self, path: StrPath, mode: int = 0o777) -> None:
        """Make a directory."""
        self._make(path, Spec(stat.S_IFDIR | mode))

    def makedirs(self, path: StrPath, mode: int = 0o777, *, exist_ok: bool = False) -> None:
        """Make a directory and those above it."""
        raw = os.fsencode(path).rstrip(b"/")
        with self.tree.lock:
            there, names = raw, list[bytes]()
            while there.strip(b"/") and not self.lexists(there):
                there, _, name = there.rstrip(b"/").rpartition(b"/")
                names.append(name)
            if names:
                top = self._node(there)
                if not isinstance(top, Directory):
                    raise failed(errno.ENOTDIR, there)
                whole.make_directories(self._changer(), top, [name for name in reversed(names) if name], mode)
            elif not exist_ok or not self.is_dir(raw):
                raise failed(errno.EEXIST, raw)

    def mknod(self, path: StrPath, mode: int = 0o600, device: int = 0) -> None:
        """Make a file, or with the type in `mode` a fifo, socket or device."""
        self._make(path, Spec(mode if stat.S_IFMT(mode) else mode | stat.S_IFREG, rdev=device))

    def mkfifo(self, path: StrPath, mode: int = 0o666) -> None:
        """Make a fifo."""
        self._make(path, Spec(stat.S_IFIFO | mode))

    def symlink(self, target: StrPath, path: StrPath) -> None:
        """Make a symbolic link to `target`."""
        self._make(path, Spec(stat.S_IFLNK | 0o777, target=os.fsencode(target)))

    def _make(self, path: StrPath, spec: Spec) -> None:
        with self.tree.lock:
            raw = os.fsencode(path)
            node, name, parent = self._walk(raw.rstrip(b"/"), follow=False)  # no link is followed to make something
            if node is not None:
                raise failed(errno.EEXIST, raw)
            if not stat.S_ISDIR(spec.mode) and raw.endswith(b"/"):
                raise failed(errno.ENOENT, raw)
            self._changer().make(parent, name, spec)

    def link(self, path: StrPath, new: StrPath, *, follow_symlinks: bool = False) -> None:
        """Give a file the further name `new`."""
        with self.tree.lock:
            node = self._node(path, follow=follow_symlinks)
            if os.fsencode(new).endswith(b"/"):
                raise failed(
                    errno.EEXIST if self.lexists(os.fsencode(new).rstrip(b"/")) else errno.ENOENT, os.fsencode(new)
                )
            self._changer().link(node, *self._place(new))

    def unlink(self, path: StrPath) -> None:
        """Remove a name of a file."""
        with self.tree.lock:
            parent, name = self._removable(path)
            self._changer().unlink(parent, name)

    remove = unlink

    def rmdir(self, path: StrPath) -> None:
        """Remove an empty directory."""
        with self.tree.lock:
            parent, name = self._removable(path)
            self._changer().rmdir(parent, name)

    def _removable(self, path: StrPath) -> tuple[Directory, bytes]:
        parent, name = self._place(path)
        if os.fsencode(path).endswith(b"/") and self.tree.lookup(parent, name).kind != DT_DIR:
            raise failed(errno.ENOTDIR, os.fsencode(path))
        return parent, name

    def rmtree(self, path: StrPath) -> None:
        """Remove a directory with all that is in it, one entry after the other."""
        with self.tree.lock:
            node = self._node(path, follow=False)
            if not isinstance(node, Directory):
                raise failed(errno.ENOTDIR, os.fsencode(path))
            whole.remove_tree(self.tree, self._changer(), node)

    def rename(self, old: StrPath, new: StrPath, *, flags: int = 0) -> None:
        """Rename, replacing what has the name already as rename(2) does; `flags` are renameat2(2)'s."""
        with self.tree.lock:
            old_parent, old_name = self._removable(old)
            new_parent, new_name = self._place(new)
            if self._kind(old, follow=False) not in (None, DT_DIR) and os.fsencode(new).endswith(b"/"):
                raise failed(errno.ENOTDIR, os.fsencode(new))
            self._changer().rename(old_parent, old_name, new_parent, new_name, flags)

    replace = rename

    # Attributes.

    def chmod(self, path: StrPath, mode: int, *, follow_symlinks: bool = True) -> None:
        """Set the permission bits; EOPNOTSUPP for a symbolic link itself, which has none."""
        self._attributes.chmod(self._node(path, follow=follow_symlinks), mode)

    def chown(self, path: StrPath, uid: int, gid: int, *, follow_symlinks: bool = True) -> None:
        """Set owner and group; -1 leaves one as it is."""
        self._attributes.chown(self._node(path, follow=follow_symlinks), uid, gid)

    def lchown(self, path: StrPath, uid: int, gid: int) -> None:
        """Set owner and group of the entry itself; -1 leaves one as it is."""
        self.chown(path, uid, gid, follow_symlinks=False)

    def utime(
        self,
        path: StrPath,
        times: tuple[float, float] | None = None,
        *,
        ns: tuple[int, int] | None = None,
        follow_symlinks: bool = True,
    ) -> None:
        """Set access and modification time, in seconds or as `ns` in nanoseconds; both to now without either."""
        if times is not None and ns is not None:
            raise ValueError("utime: you may specify either 'times' or 'ns' but not both")
        node = self._node(path, follow=follow_symlinks)
        if times is not None:
            ns = (_nanoseconds(times[0]), _nanoseconds(times[1]))
        if ns is None:
            self._attributes.touch(node)
        else:
            self._attributes.utime(node, *ns)

    def getxattr(self, path: StrPath, attribute: str | bytes, *, follow_symlinks: bool = True) -> bytes:
        """Return the value of an extended attribute; ENODATA where there is none."""
        return self._attributes.getxattr(self._node(path, follow=follow_symlinks), os.fsencode(attribute))

    def listxattr(self, path: StrPath = "/", *, follow_symlinks: bool = True) -> list[str]:
        """Return the names of the extended attributes."""
        node = self._node(path, follow=follow_symlinks)
        return [os.fsdecode(name) for name in self._attributes.listxattr(node)]

    def setxattr(
        self, path: StrPath, attribute: str | bytes, value: bytes, flags: int = 0, *, follow_symlinks: bool = True
    ) -> None:
        """Set an extended attribute; `flags` are os.XATTR_CREATE and os.XATTR_REPLACE."""
        node = self._node(path, follow=follow_symlinks)
        self._attributes.setxattr(node, os.fsencode(attribute), value, flags)

    def removexattr(self, path: StrPath, attribute: str | bytes, *, follow_symlinks: bool = True) -> None:
        """Remove an extended attribute."""
        self._attributes.removexattr(self._node(path, follow=follow_symlinks), os.fsencode(attribute))

    # What only a union knows.

    def copy_up(self, path: StrPath) -> None:
        """Make the entry be in the upper, as writing to it would."""
        with self.tree.lock:
            self._changer().copy_up.node(self._node(path, follow=False))

    def whiteouts(self) -> Iterator[bytes]:
        """Yield the path of each name that the upper hides, directories in the order of their names."""
        for change in self.changes():
            if change.kind == "D":
                yield change.path

    def changes(self) -> Iterator[Change]:
        """Yield what the upper makes differ from the layers, sorted by path: A added, C changed or replaced, D deleted.

        A whiteout of what no layer has is nothing. Of a renamed directory the old name is deleted and the new one
        added.
        """
        if self._upper is not None:
            yield from whole.changes(self.tree)


def _nanoseconds(seconds: float) -> int:
    """Return the nanoseconds that os.utime sets: rounded down, and the whole seconds exact."""
    fraction, whole_seconds = math.modf(seconds)
    return int(whole_seconds) * 1_000_000_000 + math.floor(fraction * 1e9)
