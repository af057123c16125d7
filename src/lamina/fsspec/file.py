"""An open file of the protocol `overlay`: the union's own file object, with what fsspec wants to know of one."""

from __future__ import annotations

import io
import os
import shutil
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lamina.fsspec.filesystem import OverlayFileSystem
    from lamina.overlay.union.staged import Staged


class OverlayFile(io.IOBase):
    """A binary file. Without `autocommit`, what is written is seen only after `commit`.

    A file that is open for reading can be pickled: it is then opened again, at its position.
    """

    def __init__(self, fs: OverlayFileSystem, path: str, mode: str, *, autocommit: bool = True, at: int = 0) -> None:
        self.fs = fs
        self.path = path
        self.mode = mode
        self.autocommit = autocommit or "r" in mode
        self.blocksize = io.DEFAULT_BUFFER_SIZE
        self._staged: Staged | None = None
        self._file: Any = self._open() if self.autocommit else self._stage()
        if "r" in mode:
            self.size = self._file.seek(0, os.SEEK_END)
            self._file.seek(at)

    def _open(self) -> Any:
        return self.fs.union.open(self.path, self.mode)

    def _stage(self) -> Any:
        union = self.fs.union
        if "x" in self.mode and union.lexists(self.path):
            raise FileExistsError(self.path)
        self._staged = union.stage(self.path)
        file = os.fdopen(self._staged.fd, "r+b")
        if "a" in self.mode and union.exists(self.path):
            with union.open(self.path, "rb") as before:
                shutil.copyfileobj(before, file, 1 << 20)
        return file

    def commit(self) -> None:
        """Let what was written be seen, all at once."""
        assert self._staged is not None, "fsspec commits what was opened without autocommit"
        self._file.close()
        self._staged.publish()

    def discard(self) -> None:
        """Let what was written be forgotten."""
        self._file.close()
        self._staged = None

    def info(self) -> dict[str, Any]:
        """Return what the file system knows of the path."""
        return self.fs.info(self.path)

    def __reduce__(self) -> tuple[Any, ...]:
        if self.mode != "rb":
            raise TypeError("a file that is being written cannot be pickled")
        return _reopen, (self.fs, self.path, self.tell())

    def readable(self) -> bool:
        return bool(self._file.readable())

    def writable(self) -> bool:
        return bool(self._file.writable())

    def seekable(self) -> bool:
        return True

    def fileno(self) -> int:
        return int(self._file.fileno())

    def read(self, size: int = -1) -> bytes:
        return bytes(self._file.read(size))

    def readinto(self, buffer: Any) -> int:
        return int(self._file.readinto(buffer))

    def readline(self, size: int | None = -1) -> bytes:
        return bytes(self._file.readline(-1 if size is None else size))

    def write(self, data: Any) -> int:
        return int(self._file.write(data))

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def truncate(self, size: int | None = None) -> int:
        return int(self._file.truncate(size))

    def flush(self) -> None:
        if not self._file.closed:
            self._file.flush()

    @property
    def closed(self) -> bool:
        return bool(self._file.closed)

    def close(self) -> None:
        """Close the file; what was opened without autocommit still waits for its commit."""
        self._file.close()


def _reopen(fs: OverlayFileSystem, path: str, at: int) -> OverlayFile:
    return OverlayFile(fs, path, "rb", at=at)
