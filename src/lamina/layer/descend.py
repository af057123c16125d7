"""Going down a directory tree of any depth with few descriptors.

Every level would cost one descriptor, and a tree can be deeper than their limit, so that only the deepest levels stay
open. A level that was closed is opened again through `..` and must then be the directory that it was: a tree that
someone moves about meanwhile is noticed, never followed.
"""

from __future__ import annotations

import errno
import os
from types import TracebackType

_KEEP = 64
_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Descent:
    """The chain of directories from a root down to the current one. Use as a context manager.

    `root` stays the caller's. The descriptors that the chain gives belong to it and are valid until the next `enter`
    or `leave`.
    """

    def __init__(self, root: int) -> None:
        self._fds: list[int | None] = [os.dup(root)]
        self._identities = [_identity(root)]

    def __enter__(self) -> Descent:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for fd in self._fds:
            if fd is not None:
                os.close(fd)
        self._fds = []

    @property
    def fd(self) -> int:
        """The descriptor of the current directory."""
        fd = self._fds[-1]
        assert fd is not None
        return fd

    @property
    def depth(self) -> int:
        """How many levels the current directory lies below the root."""
        return len(self._fds) - 1

    def enter(self, name: bytes) -> int:
        """Go down into the directory `name`, not following a link, and return its descriptor."""
        return self.enter_open(os.open(name, _FLAGS, dir_fd=self.fd))

    def enter_open(self, fd: int) -> int:
        """Go down into the directory `fd`, which is a child of the current one and is the chain's from now on."""
        self._fds.append(fd)
        self._identities.append(_identity(fd))
        far = len(self._fds) - _KEEP
        if far > 0 and (old := self._fds[far]) is not None:
            os.close(old)
            self._fds[far] = None
        return fd

    def leave(self) -> int:
        """Go up one level and return its descriptor; ESTALE where the directory was moved meanwhile."""
        child = self._fds.pop()
        self._identities.pop()
        assert child is not None
        try:
            if self._fds[-1] is None:
                self._fds[-1] = os.open(b"..", _FLAGS, dir_fd=child)
                if _identity(self.fd) != self._identities[-1]:
                    raise OSError(errno.ESTALE, "the directory was moved while it was read")
        finally:
            os.close(child)
        return self.fd


def _identity(fd: int) -> tuple[int, int]:
    st = os.fstat(fd)
    return st.st_dev, st.st_ino
