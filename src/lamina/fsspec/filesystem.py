"""The file system `overlay` of fsspec: the calls of fsspec over a union."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar, TypeAlias, cast

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem
from fsspec.registry import filesystem
from fsspec.spec import AbstractFileSystem

from lamina.errors import UsageError
from lamina.fsspec.file import OverlayFile
from lamina.fsspec.unions import Unions
from lamina.overlay.union.change import Change
from lamina.overlay.union.opening import FolderOf
from lamina.overlay.union.union import Union

#: A URL or path of a directory, a folder or a tar archive, or a file system with a path in it.
Place: TypeAlias = "str | os.PathLike[str] | FolderOf"


# fsspec has no annotations, so its class is Any to mypy.
class OverlayFileSystem(AbstractFileSystem):  # type: ignore[misc]
    """`lower` places laid over each other, base first or a single one, with changes kept in the directory `upper`.

    A place is a URL or path of a folder or a tar archive, opened with `lower_options`, or (file system, path). Without
    `upper` nothing can be written. `work` is as in `lamina.Union`; `sync` says whether what is copied up is on disk
    before it is seen. In a chained URL (`overlay://file::s3://bucket/prefix`) the rest is the lower place.

    Nothing is opened before the first use. An upper belongs to one process; all threads of it share the union.
    """

    protocol = "overlay"
    root_marker = ""
    _unions: ClassVar[Unions] = Unions()

    def __init__(
        self,
        lower: Place | Sequence[Place] = (),
        upper: str | os.PathLike[str] | None = None,
        *,
        lower_options: Mapping[str, Any] | None = None,
        work: str | os.PathLike[str] | None = None,
        sync: bool = False,
        fo: str | None = None,
        target_protocol: str | None = None,
        target_options: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._lowers = [_opened(place, lower_options or {}) for place in _places(lower)]
        if target_protocol is not None:  # what follows :: in a chained URL, without its protocol
            target = filesystem(target_protocol, **(target_options or {}))
            self._lowers.append(_plain((target, str(fo or ""))))
        elif fo:
            self._lowers.append(_opened(fo, target_options or {}))
        if not self._lowers:
            raise UsageError("make an overlay", "", "no lower place is named", 'lower="s3://bucket/prefix"')
        self._upper = None if upper is None else os.path.abspath(os.fspath(upper))
        self._work = None if work is None else os.path.abspath(os.fspath(work))
        self._sync = sync
        self._union: Union | None = None

    @property
    def union(self) -> Union:
        """The union itself, with all the calls of `lamina.Union`; opened at the first use."""
        if self._union is None or self._union.closed:
            self._union = self._unions.open(self._lowers, self._upper, self._work, sync=self._sync)
        return self._union

    def close(self) -> None:
        """Give lower places and upper free for every file system that shares the union; it may be used again."""
        union, self._union = self._union, None
        if union is not None:
            self._unions.close(union)

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        stripped = super()._strip_protocol(path)
        return stripped if isinstance(stripped, list) else stripped.lstrip("/")

    # Reading.

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        """Return the entries of a directory, or the one of a file; as `info`, or their names."""
        path = self._strip_protocol(path)
        if not stat.S_ISDIR(self.union.stat(path).st_mode):
            return [self.info(path) if detail else path]
        names = [f"{path}/{name}" if path else name for name in sorted(self.union.listdir(path))]
        return [self.info(name) for name in names] if detail else names

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """Return what is known of a path: the fields of fsspec's local file system, and `origin`."""
        path = self._strip_protocol(path)
        union = self.union
        st = union.lstat(path)
        found: dict[str, Any] = {"name": path, "islink": stat.S_ISLNK(st.st_mode), "origin": union.origin(path)}
        if found["islink"]:
            found["destination"] = union.readlink(path)
            try:
                st = union.stat(path)
            except OSError:  # it leads nowhere, and is itself all there is to say
                pass
        kinds = {stat.S_IFDIR: "directory", stat.S_IFREG: "file"}
        found |= {"type": kinds.get(stat.S_IFMT(st.st_mode), "other"), "size": st.st_size, "created": st.st_ctime}
        for field in ("mode", "uid", "gid", "mtime", "ino", "nlink"):
            found[field] = getattr(st, f"st_{field}")
        return found

    def exists(self, path: str, **_: Any) -> bool:
        """Tell whether the path, or what it links to, exists."""
        return self.union.exists(self._strip_protocol(path))

    def lexists(self, path: str, **_: Any) -> bool:
        """Tell whether the path exists, be it a broken link."""
        return self.union.lexists(self._strip_protocol(path))

    def isdir(self, path: str) -> bool:
        """Tell whether the path is a directory, or links to one."""
        return self.union.is_dir(self._strip_protocol(path))

    def isfile(self, path: str) -> bool:
        """Tell whether the path is a file, or links to one."""
        return self.union.is_file(self._strip_protocol(path))

    def created(self, path: str) -> datetime:
        """Return when the entry's state last changed: nothing here remembers when it was made."""
        return datetime.fromtimestamp(self.info(path)["created"], tz=UTC)

    def modified(self, path: str) -> datetime:
        """Return when the content last changed."""
        return datetime.fromtimestamp(self.info(path)["mtime"], tz=UTC)

    # Files.

    def _open(self, path: str, mode: str = "rb", *, autocommit: bool = True, **_: Any) -> OverlayFile:
        path = self._strip_protocol(path)
        if "r" not in mode:
            self._make_parent(path)
        return OverlayFile(self, path, mode, autocommit=autocommit)

    def touch(self, path: str, truncate: bool = True, **_: Any) -> None:
        """Make an empty file, or without `truncate` set the times of one that exists to now."""
        path = self._strip_protocol(path)
        if truncate or not self.union.exists(path):
            self._make_parent(path)
            self.union.write_bytes(path, b"")
        else:
            self.union.utime(path)

    def cp_file(self, path1: str, path2: str, **_: Any) -> None:
        """Copy a file, or make a directory where the first path is one."""
        path1, path2 = self._strip_protocol(path1), self._strip_protocol(path2)
        if self.union.is_dir(path1):
            self.union.makedirs(path2, exist_ok=True)
            return
        with self.union.open(path1, "rb") as source:
            self._make_parent(path2)
            with self.union.open(path2, "wb") as target:
                shutil.copyfileobj(source, target, 1 << 20)

    def _make_parent(self, path: str) -> None:
        if (parent := self._parent(path)) and not self.union.is_dir(parent):
            self.union.makedirs(parent, exist_ok=True)

    # Names.

    def mkdir(self, path: str, create_parents: bool = True, **_: Any) -> None:
        """Make a directory, with those above it unless told otherwise; FileExistsError."""
        path = self._strip_protocol(path)
        if create_parents:
            self._make_parent(path)
        self.union.mkdir(path)

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        """Make a directory with those above it."""
        path = self._strip_protocol(path)
        if path or not exist_ok:
            self.union.makedirs(path, exist_ok=exist_ok)

    def rmdir(self, path: str) -> None:
        """Remove an empty directory."""
        self.union.rmdir(self._strip_protocol(path))

    def rm_file(self, path: str) -> None:
        """Remove a file."""
        self.union.unlink(self._strip_protocol(path))

    def rm(self, path: str | list[str], recursive: bool = False, maxdepth: int | None = None) -> None:
        """Remove files, and with `recursive` directories with all that is in them, or what is not deeper in them."""
        for found in reversed(self.expand_path(path, recursive=recursive and maxdepth is not None, maxdepth=maxdepth)):
            if not stat.S_ISDIR(self.union.lstat(found).st_mode):
                self.union.unlink(found)
            elif recursive and maxdepth is None:
                self.union.rmtree(found)
            else:
                self.union.rmdir(found)

    def mv(self, path1: Any, path2: Any, recursive: bool = False, maxdepth: int | None = None, **more: Any) -> None:
        """Move; one file or directory is renamed, whatever it holds, and lists and patterns are copied and removed."""
        patterned = not isinstance(path1, str) or not isinstance(path2, str) or any(sign in path1 for sign in "*?[")
        if patterned or maxdepth is not None:
            super().mv(path1, path2, recursive=recursive, maxdepth=maxdepth, **more)
            return
        old, new = self._strip_protocol(path1), self._strip_protocol(path2)
        if path2.endswith("/") or self.union.is_dir(new):
            new = f"{new}/{old.rpartition('/')[2]}".lstrip("/")
        self._make_parent(new)
        self.union.rename(old, new)

    # What only a union knows.

    def origin(self, path: str) -> int:
        """Return the place of the lower that the name comes from, base first; the upper's is the number of lowers."""
        return self.union.origin(self._strip_protocol(path))

    def changes(self) -> list[Change]:
        """Return what the upper makes differ from the lowers, sorted by path."""
        return list(self.union.changes())

    def whiteouts(self) -> list[str]:
        """Return the paths that the upper hides."""
        return [os.fsdecode(path) for path in self.union.whiteouts()]

    def copy_up(self, path: str) -> None:
        """Make the entry be in the upper, as writing to it would."""
        self.union.copy_up(self._strip_protocol(path))


def _places(lower: Place | Sequence[Place]) -> list[Place]:
    """Return the places; a tuple that begins with a file system is one alone."""
    if isinstance(lower, str | os.PathLike):
        return [lower]
    if isinstance(lower, tuple) and len(lower) == 2 and isinstance(lower[0], AbstractFileSystem):
        return [(lower[0], str(lower[1]))]
    return list(cast("Sequence[Place]", lower))


def _opened(place: Place, options: Mapping[str, Any]) -> str | FolderOf:
    if isinstance(place, tuple):
        return _plain(place)
    text = os.fspath(place)
    return _plain(url_to_fs(text, **options)) if "://" in text or "::" in text else os.path.abspath(text)


def _plain(folder: FolderOf) -> str | FolderOf:
    """Return the path of a folder of the local file system, which needs nobody in between."""
    return folder[1] if isinstance(folder[0], LocalFileSystem) else folder
