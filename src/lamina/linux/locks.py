"""Locks that belong to an open file (fcntl_locking(2), "Open file description locks").

Unlike flock(2) they can be asked about without being taken, so that looking is in nobody's way; unlike fcntl(2)'s older
locks they are not lost when the process closes another descriptor of the file, and a child that inherits the descriptor
holds them too.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct

# struct flock: type, whence, start, length (0: the whole file), pid (0, as OFD locks demand), padding to its size.
_FLOCK = "hhqqi0q"


def lock(fd: int) -> bool:
    """Lock the whole file until the last copy of `fd` is closed; False where somebody else has it locked."""
    try:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _whole_file())
    except OSError as error:
        if error.errno not in (errno.EAGAIN, errno.EACCES):
            raise
        return False
    return True


def is_locked(fd: int) -> bool:
    """Tell whether somebody else, by another open file, has the file locked."""
    answer: bytes = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, _whole_file())
    return bool(struct.unpack(_FLOCK, answer)[0] != fcntl.F_UNLCK)


def _whole_file() -> bytes:
    return struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
