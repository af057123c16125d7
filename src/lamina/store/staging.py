"""Staging directories: where everything is made before it is published, and what keeps the collector off it.

A staging directory is alive while the process that made it holds its lock (flock on the directory itself, gone with
the process however it ends). What lies in a dead one is removed by `prune`.

Between "this layer is published" and "this reference is written" nothing that can be found points to the layer. So
whoever publishes or relies on something first *pins* it in its staging directory, under the store's shared lock; the
collector, under the exclusive one, takes the pins of the living for references.
"""

from __future__ import annotations

import errno
import fcntl
import os
from itertools import count

from lamina.errors import LaminaError
from lamina.store.files import ensure_directory, rename_directory, sync_directory, write_new

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

    from lamina.store.layout import Layout


class Staging:
    """A staging directory for a `with` block, and the transaction that it stands for.

    `path` exists inside the block; what is still in it at the end is removed by the caller's `clean`, if trees may lie
    there, or by `prune`. A full disk met in the block is raised as a LaminaError that says which one.
    """

    __slots__ = ("layout", "path", "_fd", "_numbers")

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.path = ""
        self._fd = -1
        self._numbers = count(1)

    def __enter__(self) -> Staging:
        path = self.layout.path("staging", os.urandom(8).hex())
        # Under the shared lock, or the collector could take the directory between mkdir and flock for a dead one.
        with self.layout.publishing():
            os.mkdir(path, 0o755)
            self._fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(self._fd, fcntl.LOCK_EX)
        self.path = path
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._remove_own_files()
        os.close(self._fd)
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            # From deep below such an error names nothing, or a file that nobody knows.
            root = self.layout.root
            raise LaminaError("write to the store", root, error, "lamina prune, or another place: --root") from error

    def _remove_own_files(self) -> None:
        try:
            with os.scandir(self.path) as entries:
                for entry in entries:
                    if not entry.is_dir(follow_symlinks=False):
                        os.unlink(entry.path)
            os.rmdir(self.path)
        except OSError:
            # A tree that only the worker can remove, or a disk that refuses: what is left goes with the next `prune`,
            # and must neither undo what was published nor hide why the block ended.
            pass

    def new_path(self) -> str:
        """Return a path in here that nothing has. Threads may ask at once."""
        return f"{self.path}/{next(self._numbers)}"

    def pin(self, *things: str) -> None:
        """Keep the collector off `things` ("layers/diff-HEX", "blobs/sha256/HEX", "images/HEX") while this lives.

        The caller holds `layout.publishing()`, and looks whether the thing exists only after pinning it.
        """
        with open(f"{self.path}/pins", "a", encoding="utf-8") as file:
            file.writelines(f"{thing}\n" for thing in things)

    def publish_file(self, thing: str, data: bytes, *, sync: bool = True) -> None:
        """Give the store's file `thing` this content, in place of any that it had."""
        temporary, target = self.new_path(), self.layout.path(thing)
        write_new(temporary, data, sync=sync)
        directory = os.path.dirname(target)
        try:
            os.rename(temporary, target)
        except FileNotFoundError:  # another process may remove an emptied directory of references at any time
            ensure_directory(directory)
            os.rename(temporary, target)
        if sync:
            sync_directory(directory)

    def publish_directory(self, source: str, thing: str, *, sync: bool = True) -> bool:
        """Rename the directory `source` to the store's `thing`; False where that exists: the same, by its name.

        With `sync` its content must be on disk already.
        """
        target = self.layout.path(thing)
        if not rename_directory(source, target):
            return False
        if sync:
            sync_directory(os.path.dirname(target))
        return True


def is_alive(path: str) -> bool:
    """Tell whether the process that made the staging directory `path` still holds it. The caller holds the store."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False
