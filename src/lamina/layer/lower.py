"""The layers below, seen as one tree: a lookup that honours whiteouts and opaque directories, reading only.

The layers are lamina's own, so that their marks are overlayfs's and nothing in them is redirected. Links are never
followed. A directory is a value: the layers in which it exists and its path there.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from types import TracebackType

from lamina.overlay import format as marks

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

# What the host does not show to this user is not there, as for the mount over it.
_ABSENT = (FileNotFoundError, NotADirectoryError, PermissionError)

# Longer paths are opened piece by piece; PATH_MAX is 4096.
_MAX_PATH = 4000


@dataclass(frozen=True, slots=True)
class Found:
    """An entry of the layers below: its layer (an index, base first), its path there, its state."""

    layer: int
    path: bytes
    st: os.stat_result

    @property
    def is_dir(self) -> bool:
        return stat.S_ISDIR(self.st.st_mode)


@dataclass(frozen=True, slots=True)
class LowerDir:
    """A directory of the stack: the layers that hold it, topmost first, and its path in them."""

    path: bytes
    layers: tuple[int, ...]


class Lower:
    """A stack of layer directories, base first. Use as a context manager: it holds one descriptor a layer."""

    def __init__(self, trees: list[str]) -> None:
        self._fds: list[int] = []
        try:
            for tree in trees:
                self._fds.append(os.open(tree, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        except BaseException:
            self.close()
            raise
        self._opacity: dict[tuple[int, bytes], marks.Opacity] = {}

    def __enter__(self) -> Lower:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the layers."""
        while self._fds:
            os.close(self._fds.pop())

    def root(self) -> LowerDir | None:
        """Return the top directory, None where there are no layers."""
        return LowerDir(b"", tuple(range(len(self._fds) - 1, -1, -1))) if self._fds else None

    def directory(self, path: bytes) -> LowerDir | None:
        """Return the directory at `path` (relative, b"" for the top), None where the stack has none there."""
        here = self.root()
        for name in path.split(b"/") if path else ():
            if here is None:
                return None
            here = self.child(here, name)
        return here

    def find(self, path: bytes) -> Found | None:
        """Return what the stack shows at `path`, None for nothing (hidden or absent: below it is all the same)."""
        if not path:
            root = self.root()
            return None if root is None else Found(root.layers[0], b"", os.fstat(self._fds[root.layers[0]]))
        head, _, name = path.rpartition(b"/")
        parent = self.directory(head)
        return None if parent is None else self.entry(parent, name)

    def entry(self, directory: LowerDir, name: bytes) -> Found | None:
        """Return what the stack shows as `name` in `directory`."""
        path = _join(directory.path, name)
        for layer in directory.layers:
            st = self._lstat(layer, path)
            if st is not None:
                return None if self._is_whiteout(layer, directory.path, name, st) else Found(layer, path, st)
        return None

    def child(self, directory: LowerDir, name: bytes) -> LowerDir | None:
        """Return the directory `name` in `directory`, None where it is absent or no directory."""
        path = _join(directory.path, name)
        layers = []
        for layer in directory.layers:
            st = self._lstat(layer, path)
            if st is None:
                continue
            if not stat.S_ISDIR(st.st_mode):
                break
            layers.append(layer)
            if self._opacity_of(layer, path) == b"y":
                break
        return LowerDir(path, tuple(layers)) if layers else None

    def names(self, directory: LowerDir) -> dict[bytes, Found]:
        """Return all that the stack shows in `directory`, by name, sorted."""
        found: dict[bytes, Found] = {}
        hidden: set[bytes] = set()
        for layer in directory.layers:
            try:
                fd = self.open(Found(layer, directory.path, os.fstat(self._fds[layer])), _DIRECTORY)
            except PermissionError:  # a directory of the host that this user may not read shows nothing
                continue
            try:
                for text in os.listdir(fd):
                    name = os.fsencode(text)
                    if name in found or name in hidden:
                        continue
                    st = os.stat(name, dir_fd=fd, follow_symlinks=False)
                    if self._is_whiteout(layer, directory.path, name, st):
                        hidden.add(name)
                    else:
                        found[name] = Found(layer, _join(directory.path, name), st)
            finally:
                os.close(fd)
        return dict(sorted(found.items()))

    def open(self, found: Found, flags: int) -> int:
        """Open the entry with `flags` and O_NOFOLLOW; the caller closes the descriptor."""
        parent, name = self._at(found.layer, found.path)
        try:
            return os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        finally:
            self._done(found.layer, parent)

    def _is_whiteout(self, layer: int, directory: bytes, name: bytes, st: os.stat_result) -> bool:
        if marks.is_whiteout_device(st):
            return True
        if st.st_size or not stat.S_ISREG(st.st_mode) or self._opacity_of(layer, directory) != b"x":
            return False
        fd, last = self._at(layer, _join(directory, name))
        try:
            return marks.is_whiteout(fd, last, st, b"x")
        finally:
            self._done(layer, fd)

    def _opacity_of(self, layer: int, path: bytes) -> marks.Opacity:
        known = self._opacity.get((layer, path))
        if known is None:
            fd, name = self._at(layer, path)
            known = marks.opacity_of(fd, at=name)
            self._done(layer, fd)
            if len(self._opacity) > 10_000:  # memory stays flat in trees of any size
                self._opacity.clear()
            self._opacity[layer, path] = known
        return known

    def _lstat(self, layer: int, path: bytes) -> os.stat_result | None:
        try:
            parent, name = self._at(layer, path)
        except _ABSENT:
            return None
        try:
            return os.stat(name, dir_fd=parent, follow_symlinks=False)
        except _ABSENT:
            return None
        finally:
            self._done(layer, parent)

    def _at(self, layer: int, path: bytes) -> tuple[int, bytes]:
        """Return a descriptor and a path from it that is short enough for one call.

        The directories on the way are known to be directories of this layer, so that no link is followed.
        """
        fd = self._fds[layer]
        while len(path) > _MAX_PATH:
            cut = path.rfind(b"/", 0, _MAX_PATH)
            deeper = os.open(path[:cut], os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=fd)
            self._done(layer, fd)
            fd, path = deeper, path[cut + 1 :]
        return fd, path or b"."

    def _done(self, layer: int, fd: int) -> None:
        if fd != self._fds[layer]:
            os.close(fd)


def _join(directory: bytes, name: bytes) -> bytes:
    return directory + b"/" + name if directory else name
