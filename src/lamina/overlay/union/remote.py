"""A branch that is a folder of any fsspec file system: read-only, in this process.

Such a file system has no whiteouts of its own, but names that start with `.wh.` are read as in every layer. A folder is
listed once and what the listing says is kept: a layer does not change. Links are what the file system makes of them.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Mapping
from datetime import datetime
from hashlib import blake2b
from typing import Any, BinaryIO, Protocol

from lamina.errors import InvalidInput, UsageError
from lamina.overlay import format as marks
from lamina.overlay.union.branch import DT_DIR, DT_REG, Scan, join, take_named_mark
from lamina.overlay.union.owners import Owners
from lamina.overlay.union.virtual import Virtual, make_state

#: Under which keys file systems tell the time of the last change, the best one first.
_TIMES = ("mtime", "LastModified", "last_modified", "updated", "modified", "created")


class FileSystem(Protocol):
    """What is used of fsspec.AbstractFileSystem."""

    def info(self, path: str) -> Mapping[str, Any]: ...
    def ls(self, path: str, detail: bool = True) -> list[Any]: ...
    def open(self, path: str, mode: str = "rb") -> Any: ...


class RemoteBranch(Virtual):
    """The folder `root` of a file system; all of it is shown as the caller's own."""

    __slots__ = ("_fs", "_own", "_root", "_states")

    def __init__(self, fs: FileSystem, root: str, index: int, owners: Owners) -> None:
        super().__init__(index, owners)
        if getattr(fs, "asynchronous", False):
            reason = "it was made with asynchronous=True, and is called from code that is not"
            raise UsageError("use the file system", repr(fs), reason, "make it without that argument")
        self._fs = fs
        self._root = root.rstrip("/")
        self._own = (os.geteuid(), os.getegid())
        self._states: dict[bytes, os.stat_result] = {}
        if not stat.S_ISDIR(self.stat(b"").st_mode):
            raise InvalidInput("use the lower directory", root, "it is not a directory")

    def _full(self, path: bytes) -> str:
        return f"{self._root}/{os.fsdecode(path)}" if path else self._root

    def scan(self, path: bytes, opacity: marks.Opacity) -> Scan:
        """Return what the folder holds and hides."""
        folder = self._full(path)
        found = Scan()
        for info in self._fs.ls(folder, detail=True):
            full = info["name"].rstrip("/")
            if full == folder:  # object stores list what stands for an empty folder
                continue
            name = os.fsencode(full.rpartition("/")[2])
            kind = DT_DIR if info["type"] == "directory" else DT_REG
            if name in (b"", b".", b"..") or found.entries.get(name) == DT_DIR:
                continue  # of an object and a folder of one name the folder is shown: it may hold others
            found.entries[name] = kind
            here = join(path, name)
            self._states[here] = self._state(here, info)
        for name in [name for name in found.entries if name.startswith(marks.WHITEOUT_PREFIX)]:
            take_named_mark(found, name)
        return found

    def stat(self, path: bytes) -> os.stat_result:
        """Return the state of the entry."""
        known = self._states.get(path)
        if known is None:
            known = self._states[path] = self._state(path, self._fs.info(self._full(path)))
        return known

    def _state(self, path: bytes, info: Mapping[str, Any]) -> os.stat_result:
        mode = info.get("mode")
        if info["type"] == "directory":
            bits = stat.S_IFDIR | (stat.S_IMODE(mode) if isinstance(mode, int) else 0o755)
        else:
            bits = stat.S_IFREG | (stat.S_IMODE(mode) if isinstance(mode, int) else 0o644)
        st = make_state(
            mode=bits,
            # By the path alone, so that it is the same at the next opening.
            ino=int.from_bytes(blake2b(path, digest_size=7).digest()) | 1,
            device=self.device,
            links=1,
            owner=self._own,
            size=0 if stat.S_ISDIR(bits) else info.get("size") or 0,
            mtime=_time_of(info),
        )
        return self._owners.shown(st, None)

    def reader(self, path: bytes) -> BinaryIO:
        """Open the file for reading; what is read is fetched as the file system does it."""
        file: BinaryIO = self._fs.open(self._full(path), "rb")
        return file

    def copy_data(self, path: bytes, fd: int, size: int | None) -> None:
        """Make the empty file `fd` hold the first `size` bytes of the file, or all."""
        if size == 0:
            return
        with self.reader(path) as source, open(fd, "wb", closefd=False) as target:
            if size is None:
                shutil.copyfileobj(source, target, 1 << 20)
                return
            while size and (data := source.read(min(size, 1 << 20))):
                target.write(data)
                size -= len(data)


def _time_of(info: Mapping[str, Any]) -> int:
    """Return when the entry was last changed, in nanoseconds, 0 where nobody says."""
    for key in _TIMES:
        value = info.get(key)
        if isinstance(value, str):
            try:
                value = datetime.fromisoformat(value)
            except ValueError:
                continue
        if isinstance(value, datetime):
            return int(value.timestamp()) * 10**9 + value.microsecond * 1000
        if isinstance(value, int | float):
            return int(value * 10**9)
    return 0
