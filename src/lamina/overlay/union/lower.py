"""What the union asks of a lower layer: the layer seen alone, answering a name by an entry, a whiteout or nothing.

A directory on this machine (`branch`), an archive (`tarbranch`) and any fsspec file system (`remote`) answer. Paths are
bytes relative to the layer's root, b"" for the root itself; no component of one but the last is a symbolic link, since
every directory on the way was found in `scan`. Layers do not change while they are used.
"""

from __future__ import annotations

import os
from typing import BinaryIO, Protocol

from lamina.overlay import format as marks
from lamina.overlay.union.branch import Marks, Scan


class Lower(Protocol):
    """A lower layer. `index` is its place, base first; `close` when done.

    `device` tells its inode numbers from those of other layers. A `foreign` one belongs to somebody else: not all of
    its metadata can be had, or given to a copy.
    """

    index: int
    device: int
    foreign: bool

    def close(self) -> None:
        """Give back what the layer holds; once."""

    def scan(self, path: bytes, opacity: marks.Opacity) -> Scan:
        """Return what the directory holds and hides; its own mark is `opacity`."""

    def marks_of(self, path: bytes) -> Marks:
        """Return the marks of the directory."""

    def stat(self, path: bytes) -> os.stat_result:
        """Return the state of the entry itself."""

    def readlink(self, path: bytes) -> bytes:
        """Return the target of the symbolic link."""

    def listxattr(self, path: bytes) -> list[bytes]:
        """Return the names of the entry's attributes as they are stored."""

    def getxattr(self, path: bytes, attribute: bytes) -> bytes:
        """Return a stored attribute; ENODATA where there is none."""

    def open(self, path: bytes, flags: int) -> int:
        """Open the entry for reading and return a descriptor, which the caller closes."""

    def reader(self, path: bytes) -> BinaryIO:
        """Open the file for reading, seekable, with no more work than what is read asks for; the caller closes it."""

    def copy_data(self, path: bytes, fd: int, size: int | None) -> None:
        """Make the empty file `fd` hold the first `size` bytes of the file, or all, holes included."""

    def redirect_of(self, path: bytes) -> bytes:
        """Return where the directory or metacopy file is in the layers below; b"" where it is at its own name."""

    def is_metacopy(self, path: bytes) -> bool:
        """Tell whether the data of the file are in a layer below."""

    def handle(self, path: bytes) -> tuple[int, bytes] | None:
        """Return type and file handle of the entry, by which it is found again at another mount, None without."""

    def uuid(self) -> bytes | None:
        """Return the UUID of the file system that `handle` speaks of, None without handles."""

    def statvfs(self) -> os.statvfs_result:
        """Return the numbers of the file system."""
