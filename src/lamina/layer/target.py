"""The directory that a layer is unpacked into: names made beneath its root, whatever is there moved out of the way.

Every step is one name in a directory that was opened from the root without following links, so that nothing can be made
outside. Directories are known by their path; which of them exist is remembered, since nobody else writes here.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import OrderedDict
from collections.abc import Callable
from types import TracebackType

from lamina.layer import deep

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_DIRECTORIES = 64


class Target:
    """A tree under construction in `staging`/tree, and beside it what was replaced. Use as a context manager.

    Paths are relative to the tree's root without `.` and `..`, b"" being the root. `on_displaced` is told the path of
    what had to give way, its name in `staging`/replaced if it was a regular file or a directory, and whether it was a
    directory.
    """

    def __init__(self, staging: int, on_displaced: Callable[[bytes, bytes | None, bool], None]) -> None:
        os.mkdir(b"tree", 0o700, dir_fd=staging)
        self._staging = staging
        self._on_displaced = on_displaced
        self.root = os.open(b"tree", _DIRECTORY, dir_fd=staging)
        for attribute in ("system.posix_acl_access", "system.posix_acl_default"):
            try:  # what the store's own directory hands down is not part of the layer
                os.removexattr(self.root, attribute)
            except OSError as error:
                if error.errno not in (errno.ENODATA, errno.EOPNOTSUPP):
                    raise
        os.fchmod(self.root, 0o700)
        self._aside: int | None = None
        self._open: OrderedDict[bytes, int] = OrderedDict()
        self.directories: set[bytes] = {b""}
        self._displaced = 0

    def __enter__(self) -> Target:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._open:
            os.close(self._open.popitem()[1])
        os.close(self.root)
        if self._aside is not None:
            os.close(self._aside)

    def open_directory(self, path: bytes) -> int:
        """Return a descriptor of the directory at `path`, good until the next call that takes a path."""
        if not path:
            return self.root
        fd = self._open.get(path)
        if fd is not None:
            self._open.move_to_end(path)
            return fd
        head, _, name = path.rpartition(b"/")
        known = self._open.get(head) if head else self.root
        fd = os.open(name, _DIRECTORY, dir_fd=known) if known is not None else deep.open_directory(self.root, path)
        if len(self._open) >= _OPEN_DIRECTORIES:
            os.close(self._open.popitem(last=False)[1])
        self._open[path] = fd
        return fd

    def lstat(self, path: bytes) -> os.stat_result | None:
        """Return the state of what is at `path`, whose parent exists, or None."""
        head, _, name = path.rpartition(b"/")
        try:
            return os.stat(name or b".", dir_fd=self.open_directory(head), follow_symlinks=False)
        except FileNotFoundError:
            return None

    def make_directory(self, path: bytes) -> bool:
        """Ensure a directory at `path`, whose parent exists; tell whether it is new."""
        if path in self.directories:
            return False
        head, _, name = path.rpartition(b"/")
        self.replacing(path, lambda parent: os.mkdir(name, 0o700, dir_fd=parent), head)
        self.directories.add(path)
        return True

    def replacing(self, path: bytes, make: Callable[[int], None], head: bytes) -> None:
        """Call `make` with the descriptor of the directory `head`; what stands at `path` gives way to it."""
        parent = self.open_directory(head)
        try:
            make(parent)
        except FileExistsError:
            self.displace(path)
            make(self.open_directory(head))

    def displace(self, path: bytes) -> None:
        """Move what is at `path` out of the tree, and remember it."""
        head, _, name = path.rpartition(b"/")
        parent = self.open_directory(head)
        st = os.stat(name, dir_fd=parent, follow_symlinks=False)
        if not stat.S_ISDIR(st.st_mode) and not stat.S_ISREG(st.st_mode):
            os.unlink(name, dir_fd=parent)
            self._on_displaced(path, None, False)
            return
        if self._aside is None:
            os.mkdir(b"replaced", 0o700, dir_fd=self._staging)
            self._aside = os.open(b"replaced", _DIRECTORY, dir_fd=self._staging)
        if stat.S_ISDIR(st.st_mode):
            self._forget(path)
        place = b"%d" % self._displaced
        self._displaced += 1
        os.rename(name, place, src_dir_fd=parent, dst_dir_fd=self._aside)
        self._on_displaced(path, place, stat.S_ISDIR(st.st_mode))

    def _forget(self, path: bytes) -> None:
        below = path + b"/"
        gone = [known for known in self.directories if known == path or known.startswith(below)]
        self.directories.difference_update(gone)
        for known in gone:
            fd = self._open.pop(known, None)
            if fd is not None:
                os.close(fd)
