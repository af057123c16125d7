"""One entry of a layer, as it stands in a tar archive and as it is made on disk."""

from __future__ import annotations

import stat
from typing import Final

FILE: Final = b"0"
HARDLINK: Final = b"1"
SYMLINK: Final = b"2"
CHARDEV: Final = b"3"
BLOCKDEV: Final = b"4"
DIRECTORY: Final = b"5"
FIFO: Final = b"6"

#: File type bits of st_mode to entry type. Sockets have none: tar cannot hold them.
TYPES: Final = {
    stat.S_IFREG: FILE,
    stat.S_IFLNK: SYMLINK,
    stat.S_IFCHR: CHARDEV,
    stat.S_IFBLK: BLOCKDEV,
    stat.S_IFDIR: DIRECTORY,
    stat.S_IFIFO: FIFO,
}


class Entry:
    """A name with its metadata; the content of a regular file comes apart from it.

    `name` and `link` (the target of a symbolic link, the other name of a hard link) are as written in the archive.
    `mode` is the permission bits with set-id and sticky, `mtime` nanoseconds since the epoch, `size` the length of a
    regular file with its holes. `extents` lists (offset, length) of the stretches that the archive holds for it, in
    order, or is None where it holds the whole file. `number` counts the archive's entries from 1.
    """

    __slots__ = (
        "extents", "gid", "kind", "link", "major", "minor", "mode", "mtime", "name", "number", "size", "uid", "xattrs",
    )  # fmt: skip

    def __init__(self, name: bytes, kind: bytes) -> None:
        self.name = name
        self.kind = kind
        self.mode = 0
        self.uid = 0
        self.gid = 0
        self.size = 0
        self.mtime = 0
        self.link = b""
        self.major = 0
        self.minor = 0
        self.xattrs: dict[bytes, bytes] = {}
        self.extents: list[tuple[int, int]] | None = None
        self.number = 0

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__slots__)
        return f"Entry({fields})"

    @property
    def stored(self) -> int:
        """Return how many bytes of content the archive holds."""
        return self.size if self.extents is None else sum(length for _, length in self.extents)
