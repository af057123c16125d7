"""A small ext4 on a loop device, whose power can be cut, and which can be full or out of inodes.

`cut` is the file system's own shutdown without a flush (FS_IOC_SHUTDOWN with NOLOGFLUSH, as fstests uses it): what has
not reached the device by then never does, and everybody gets EIO. Mounted again, it plays back its journal as after a
power failure. And an XFS, whose files can share their blocks. Root only, in a mount namespace of its own.
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.helpers.command import run

_SHUTDOWN = 0x8004587D  # _IOR('X', 125, __u32), include/uapi/linux/fs.h
_NO_LOG_FLUSH = 2

# linux/fiemap.h: what is asked (start, length, flags, mapped, room, reserved), one extent, and its flag.
_FIEMAP = 0xC020660B
_QUESTION = struct.Struct("=QQIIII")
_EXTENT = struct.Struct("=QQQ2QI3I")
_SHARED = 0x2000
_MOST_EXTENTS = 100

#: What loses most: nothing is written before it must be, and a rename does not bring its file to disk by itself.
HARSH = "commit=300,noauto_da_alloc"


class Disk:
    """The file system, mounted on `path`."""

    def __init__(self, image: Path, path: Path, options: str) -> None:
        self._image = image
        self._options = options
        self.path = path
        self.mount()

    def mount(self) -> None:
        """Mount it, playing back its journal."""
        run(["mount", "-o", f"loop,{self._options}", str(self._image), str(self.path)])

    def unmount(self) -> None:
        """Take it away, with its loop device."""
        run(["umount", str(self.path)])

    def cut(self) -> None:
        """Cut the power: nothing more is written."""
        fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(fd, _SHUTDOWN, struct.pack("I", _NO_LOG_FLUSH))
        finally:
            os.close(fd)

    def restart(self) -> None:
        """Unmount and mount it again; whoever used it must be gone."""
        self.unmount()
        self.mount()


@contextmanager
def disk(scratch: Path, *, size: int, inodes: int = 0, options: str = HARSH) -> Iterator[Disk]:
    """Make a disk of `size` bytes, with the default number of inodes or so many, for a `with` block."""
    image, path = scratch / "disk.img", scratch / "disk"
    path.mkdir()
    with open(image, "xb") as file:
        file.truncate(size)
    count = ["-N", str(inodes)] if inodes else []
    # No zeroing in the background, and nobody's reserve.
    run(["mkfs.ext4", "-q", "-m", "0", "-E", "lazy_itable_init=0,nodiscard", *count, str(image)])
    made = Disk(image, path, options)
    try:
        yield made
    finally:
        made.unmount()


@contextmanager
def reflinking_disk(scratch: Path) -> Iterator[Path]:
    """Make an XFS whose files can share blocks, and yield where it is mounted."""
    image, path = scratch / "xfs.img", scratch / "xfs"
    path.mkdir()
    with open(image, "xb") as file:
        file.truncate(300 << 20)  # mkfs.xfs makes nothing smaller
    run(["mkfs.xfs", "-q", "-m", "reflink=1", str(image)])
    made = Disk(image, path, "nosuid")
    try:
        yield path
    finally:
        made.unmount()


def shares_all_blocks(path: Path) -> bool:
    """Tell whether the file has blocks, and each is another file's as well."""
    question = bytearray(_QUESTION.pack(0, 2**64 - 1, 1, 0, _MOST_EXTENTS, 0))  # after a sync of the file
    question += bytes(_MOST_EXTENTS * _EXTENT.size)
    with open(path, "rb") as file:
        fcntl.ioctl(file, _FIEMAP, question)
    count = _QUESTION.unpack_from(question)[3]
    assert count < _MOST_EXTENTS
    flags = [_EXTENT.unpack_from(question, _QUESTION.size + n * _EXTENT.size)[5] for n in range(count)]
    return bool(flags) and all(flag & _SHARED for flag in flags)
