"""Opening a path of any length step by step, following no link."""

from __future__ import annotations

import os

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def open_directory(root: int, path: bytes) -> int:
    """Open the directory at `path` below `root` (b"" being `root` itself); the caller closes it."""
    here = os.dup(root)
    try:
        for name in path.split(b"/") if path else ():
            deeper = os.open(name, _DIRECTORY, dir_fd=here)
            os.close(here)
            here = deeper
    except BaseException:
        os.close(here)
        raise
    return here


class Files:
    """Opens files below `root` in the order in which an archive names them: the last directory stays open.

    Use as a context manager; `root` stays the caller's.
    """

    def __init__(self, root: int) -> None:
        self._root = root
        self._path = b""
        self._directory = os.dup(root)

    def __enter__(self) -> Files:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._directory)

    def open(self, path: bytes) -> int:
        """Open the file at `path` for reading; the caller closes it."""
        head, _, name = path.rpartition(b"/")
        if head != self._path:
            fd = open_directory(self._root, head)
            os.close(self._directory)
            self._directory, self._path = fd, head
        return os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._directory)
