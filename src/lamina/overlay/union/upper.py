"""The upper and its work directory: the only two directories of a union that are written to.

Whatever is not one system call is made in the work directory and renamed into the upper, so that a crash leaves the old
state or the new one. As the kernel does, temporary entries stand in `work` of the work directory, and are removed when
the upper is next opened; links to copied-up files with several names stand in its `index`.
"""

from __future__ import annotations

import errno
import itertools
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from lamina.errors import InvalidInput
from lamina.linux.files import RENAME_EXCHANGE, renameat2
from lamina.overlay import format as marks
from lamina.overlay.in_use import lock
from lamina.overlay.strange import refuse_features, refuse_strange_marks
from lamina.overlay.union.branch import Branch
from lamina.overlay.union.lend import lend
from lamina.overlay.union.owners import Owners

_TEMP = b"work"
INDEX = b"index"

# mknod of the whiteout device where neither the file system nor the user namespace lets it be made.
_NO_DEVICES = (errno.EPERM, errno.EACCES, errno.EOPNOTSUPP)


class Upper:
    """The upper `branch` with its work directory.

    `space` is the spelling of the marks that are written. With `sync` a copied-up file is on disk before it is visible,
    as with the kernel's driver. Conflict where the upper is in use; a lock that the caller took already is `held`, and
    is the object's from then on. Without `work` a directory is made beside the upper, and removed by `close`.
    """

    __slots__ = (
        "_counter", "_lock", "_made", "_process", "_redirects", "_whiteout", "branch", "indexed", "owners", "space",
        "sync", "work",
    )  # fmt: skip

    def __init__(
        self,
        root: str,
        work: str | None,
        index: int,
        *,
        userxattr: bool | None,
        sync: bool,
        held: int = -1,
        owners: Owners | None = None,
    ) -> None:
        self.owners = owners or Owners()
        self.branch = self.owners.branch(root, index, lower=False)
        self.sync = sync
        self.indexed = work is not None  # an index in a directory that goes away would come to nothing
        self._counter = itertools.count()
        self._whiteout = b""
        self._made = ""
        self._redirects = False
        self._process = os.getpid()
        self._lock = -1
        try:
            self._lock = held if held >= 0 else lock(root)
            if work is None:
                work = self._made = _beside(root)
            self.work = self.owners.branch(work, index, lower=False)
        except BaseException:
            self._release()
            raise
        try:
            if self.work.device != self.branch.device:
                raise InvalidInput("use the work directory", work, f"it is not on the file system of {root}")
            self._prepare()
            self.space = marks.USER if userxattr or (userxattr is None and not self._may_trust()) else marks.TRUSTED
            refuse_strange_marks(root, self.space)
        except BaseException:
            self.work.close()  # and nothing in it is removed: it may be another's, or a merge's that is to be finished
            self._release()
            raise

    def close(self) -> None:
        """Remove what is temporary and give the upper free; a child of the process that opened it removes nothing."""
        if self._process == os.getpid():
            with suppress(OSError):  # what stays is removed at the next opening
                self._empty(_TEMP)
        self.work.close()
        self._release()

    def _release(self) -> None:
        self.branch.close()
        if self._lock >= 0:
            os.close(self._lock)
        if self._made and self._process == os.getpid():
            for name in (_TEMP, INDEX):
                with suppress(OSError):
                    os.rmdir(os.path.join(self._made, os.fsdecode(name)))
            with suppress(OSError):
                os.rmdir(self._made)

    def _prepare(self) -> None:
        for name in (_TEMP, INDEX):
            try:
                os.mkdir(name, 0o700, dir_fd=self.work.fd)
            except FileExistsError:
                # The kernel makes them with mode 0, which is closed to an owner without CAP_DAC_OVERRIDE.
                os.chmod(name, 0o700, dir_fd=self.work.fd)
        refuse_features(self.work.proc)
        self._empty(_TEMP)

    def _may_trust(self) -> bool:
        """Tell whether trusted.* attributes can be written here."""
        try:
            self.set_xattr(self.work, _TEMP, b"trusted.overlay.opaque", b"n")
            self.remove_xattr(self.work, _TEMP, b"trusted.overlay.opaque")
        except OSError:
            return False
        return True

    def temp(self) -> bytes:
        """Return a free path in the work directory."""
        return b"%b/#%x" % (_TEMP, next(self._counter))

    def publish(self, temp: bytes, path: bytes, flags: int = 0, *, into: bytes | None = None) -> None:
        """Rename `temp` of the work directory to `path` of the upper: renameat2(2).

        Whether its directory may be written to is the caller's to know, but for a copy-up `into` a directory of ours.
        """

        def rename() -> None:
            with self.branch.near(path) as (fd, name):
                _rename(self.work.fd, temp, fd, name, flags)

        entries = [(self.work, temp)]
        if flags & RENAME_EXCHANGE:
            entries.append((self.branch, path))
        if into is not None:
            entries.append((self.branch, into))
        lend(rename, *entries)

    def move(self, old: bytes, new: bytes, flags: int = 0) -> None:
        """Rename within the upper: renameat2(2)."""
        with self.branch.near(old) as (old_fd, old_name), self.branch.near(new) as (new_fd, new_name):
            _rename(old_fd, old_name, new_fd, new_name, flags)

    def link(self, source: Branch, old: bytes, target: Branch, new: bytes) -> None:
        """Give `old` the further name `new`; each is in the upper or in the work directory."""
        with source.near(old) as (old_fd, old_name), target.near(new) as (new_fd, new_name):
            os.link(old_name, new_name, src_dir_fd=old_fd, dst_dir_fd=new_fd, follow_symlinks=False)

    @contextmanager
    def staged(self) -> Iterator[bytes]:
        """Give a free path in the work directory; what still is there when the block fails is removed."""
        temp = self.temp()
        try:
            yield temp
        except BaseException:
            with suppress(OSError):  # the first error counts, and the next opening removes it
                self.discard(temp)
            raise

    def discard(self, temp: bytes) -> None:
        """Remove an entry of the work directory with all that is in it; its absence is accepted."""
        self.work.remove(temp)

    def _empty(self, path: bytes) -> None:
        for name in self.work.names(path):
            self.work.remove(path + b"/" + name)

    def whiteout(self, directory: bytes, name: bytes) -> bool:
        """Make `name`, which does not exist in the upper's `directory`, a whiteout. True where it is an xattr whiteout.

        Whiteouts are links to one device, as the kernel's are. Where devices are refused, the directory becomes one
        with xattr whiteouts (opaque=x).
        """
        path = directory + b"/" + name if directory else name
        try:
            self._link_whiteout(self.branch, path)
        except OSError as error:
            if error.errno not in _NO_DEVICES:
                raise
            with self.branch.near(directory) as (fd, short):
                opened = os.open(short, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=fd)
            try:
                marks.write_xattr_whiteout(opened, name, self.space)
            finally:
                os.close(opened)
            return True
        return False

    def staged_whiteout(self) -> bytes:
        """Make a whiteout device in the work directory and return its path; EPERM and the like where there are none."""
        temp = self.temp()
        self._link_whiteout(self.work, temp)
        return temp

    def _link_whiteout(self, target: Branch, path: bytes) -> None:
        if self._whiteout:
            try:
                self.link(self.work, self._whiteout, target, path)
            except OSError as error:
                if error.errno not in (errno.EMLINK, errno.EPERM, errno.EOPNOTSUPP):
                    raise
            else:
                return
        fresh = self.temp()
        os.mknod(fresh, stat.S_IFCHR, 0, dir_fd=self.work.fd)
        self._whiteout = fresh
        self.link(self.work, fresh, target, path)

    def index_path(self, origin: bytes) -> bytes:
        """Return where in the work directory the index of an `overlay.origin` stands; b"" for no origin."""
        return b"%b/%b" % (INDEX, origin.hex().encode()) if origin else b""

    def indexed_nlink(self, index: bytes, st: os.stat_result) -> int:
        """Return the links in the union of an indexed file whose real state is `st`.

        The kernel keeps what has to be added to the real count (the names that were not copied up, less the index
        itself) in `overlay.nlink`, as `U+1`.
        """
        value = self.get_mark(self.work, index, b"nlink") or b""
        try:
            return st.st_nlink + int(value[1:]) if value.startswith(b"U") else max(st.st_nlink - 1, 1)
        except ValueError:
            return max(st.st_nlink - 1, 1)

    def add_index(self, temp: bytes, index: bytes, layer: int) -> bool:
        """Link a copy that is not published yet to its place in the index; False where another layer's has it.

        The kernel names an index by the inode alone. Layers that share inodes (a store that links equal files) need
        to be told apart, which is what `overlay.layer` is for, a mark of our own.
        """
        self.set_mark(self.work, temp, b"layer", b"%d" % layer)
        try:
            self.link(self.work, temp, self.work, index)
        except FileExistsError:
            return False
        return True

    def is_index_of(self, index: bytes, layer: int) -> bool:
        """Tell whether an index is of a file of that layer; the kernel's do not say."""
        return self.get_mark(self.work, index, b"layer") in (None, b"%d" % layer)

    def set_indexed_nlink(self, index: bytes, links: int) -> None:
        """Keep how many links the union shows of an indexed file."""
        real = self.work.stat(index).st_nlink
        self.set_mark(self.work, index, b"nlink", b"U%+d" % (links - real))

    def set_mark(self, branch: Branch, path: bytes, mark: bytes, value: bytes) -> None:
        """Set `overlay.MARK` of an entry."""
        lend(lambda: self.set_xattr(branch, path, self.space.encode() + mark, value), (branch, path))

    def remove_mark(self, branch: Branch, path: bytes, mark: bytes) -> None:
        """Remove `overlay.MARK` of an entry; its absence is accepted."""
        with suppress(OSError):  # none set, none supported, none for this type of entry
            self.remove_xattr(branch, path, self.space.encode() + mark)

    def redirect(self, path: bytes, origin: bytes) -> None:
        """Let the directory at `path` say that the lower layers have it at `origin`, and the upper that it has such."""
        if not self._redirects:
            self.set_mark(self.branch, b"", marks.REDIRECTS, b"y")
            self._redirects = True
        self.set_mark(self.branch, path, b"redirect", b"/" + origin)

    def get_mark(self, branch: Branch, path: bytes, mark: bytes) -> bytes | None:
        """Return `overlay.MARK` of an entry, or None."""
        try:
            with branch.proc_path(path) as proc:
                return os.getxattr(proc, self.space.encode() + mark, follow_symlinks=False)
        except OSError:  # none set, none supported, none for this type of entry
            return None

    @staticmethod
    def set_xattr(branch: Branch, path: bytes, attribute: bytes, value: bytes, flags: int = 0) -> None:
        """Set an attribute of the entry itself."""
        with branch.proc_path(path) as proc:
            os.setxattr(proc, attribute, value, flags, follow_symlinks=False)

    @staticmethod
    def remove_xattr(branch: Branch, path: bytes, attribute: bytes) -> None:
        """Remove an attribute of the entry itself."""
        with branch.proc_path(path) as proc:
            os.removexattr(proc, attribute, follow_symlinks=False)


def _rename(old_fd: int, old: bytes, new_fd: int, new: bytes, flags: int) -> None:
    if flags:
        renameat2(old_fd, old, new_fd, new, flags)
    else:
        os.rename(old, new, src_dir_fd=old_fd, dst_dir_fd=new_fd)


def exchange(upper: Upper, temp: bytes, path: bytes) -> None:
    """Swap an entry of the work directory with one of the upper, atomically."""
    upper.publish(temp, path, RENAME_EXCHANGE)


def _beside(root: str) -> str:
    """Make a work directory where it is on the file system of the upper: beside it."""
    real = os.path.realpath(root)
    try:
        return tempfile.mkdtemp(prefix=f".{os.path.basename(real)}.work-", dir=os.path.dirname(real))
    except OSError as error:
        raise InvalidInput("make a work directory beside", root, error, "name a work directory") from error
