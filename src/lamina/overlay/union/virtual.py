"""What lower layers have in common that are no directories: entries without descriptors, handles or marks on files."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from typing import BinaryIO

from lamina.overlay.union.branch import Marks
from lamina.overlay.union.owners import Owners

# No device of Linux has such a large major number, so numbers of layers are nobody else's (dev_t has 12 bits for it).
_MAJOR = 1 << 20


class Virtual:
    """A lower layer in no file system of this machine; its place is `index`, its owners are shown as `owners` say."""

    __slots__ = ("_owners", "device", "foreign", "index")

    def __init__(self, index: int, owners: Owners) -> None:
        self._owners = owners
        self.index = index
        self.device = os.makedev(_MAJOR, index)
        self.foreign = os.geteuid() != 0

    def close(self) -> None:
        """Give back what the layer holds; what is open stays so."""

    def stat(self, path: bytes) -> os.stat_result:
        """Return the state of the entry itself."""
        raise NotImplementedError

    def reader(self, path: bytes) -> BinaryIO:
        """Open the file for reading; the caller closes it."""
        raise NotImplementedError

    def copy_data(self, path: bytes, fd: int, size: int | None) -> None:
        """Make the empty file `fd` hold the first `size` bytes of the file, or all."""
        raise NotImplementedError

    def open(self, path: bytes, flags: int) -> int:
        """Return the descriptor of an unnamed copy of the file, which lives as long as the descriptor."""
        mode = self.stat(path).st_mode
        if not stat.S_ISREG(mode):
            raise _error(errno.EISDIR if stat.S_ISDIR(mode) else errno.ENXIO, path)
        with tempfile.TemporaryFile() as copy:
            self.copy_data(path, copy.fileno(), None)
            # By its name below /proc: a description of its own, at its start and for reading only.
            return os.open(f"/proc/self/fd/{copy.fileno()}", flags & ~os.O_NOFOLLOW | os.O_CLOEXEC)

    def marks_of(self, path: bytes) -> Marks:
        """Return the marks of the directory."""
        return Marks()

    def readlink(self, path: bytes) -> bytes:
        """Return the target of the symbolic link."""
        raise _error(errno.EINVAL, path)

    def listxattr(self, path: bytes) -> list[bytes]:
        """Return the names of the entry's attributes."""
        return []

    def getxattr(self, path: bytes, attribute: bytes) -> bytes:
        """Return an attribute; ENODATA where there is none."""
        raise _error(errno.ENODATA, path)

    def redirect_of(self, path: bytes) -> bytes:
        """Return b"": nothing here is elsewhere."""
        return b""

    def is_metacopy(self, path: bytes) -> bool:
        """Return False: data are here or nowhere."""
        return False

    def handle(self, path: bytes) -> None:
        """Return None: there are no file handles."""

    def uuid(self) -> None:
        """Return None: there are no file handles."""

    def statvfs(self) -> os.statvfs_result:
        """Return the numbers of a full read-only file system."""
        return os.statvfs_result((4096, 4096, 0, 0, 0, 0, 0, 0, os.ST_RDONLY, 255))


def _error(code: int, path: bytes) -> OSError:
    return OSError(code, os.strerror(code), os.fsdecode(path))


def make_state(
    *, mode: int, ino: int, device: int, links: int, owner: tuple[int, int], size: int, mtime: int, rdev: int = 0
) -> os.stat_result:
    """Return a state with the one time `mtime`, in nanoseconds."""
    seconds, exact = mtime // 10**9, mtime / 10**9
    times: dict[str, float | int] = {f"st_{kind}time": exact for kind in "amc"}
    times |= {f"st_{kind}time_ns": mtime for kind in "amc"}
    return os.stat_result(
        (mode, ino, device, links, *owner, size, seconds, seconds, seconds),
        {**times, "st_blksize": 4096, "st_blocks": -(-size // 512), "st_rdev": rdev},
    )
