"""Extended attributes of what a descriptor, or a name in a directory descriptor, stands for; links are not followed.

`fd` may be an O_PATH descriptor: fgetxattr(2) refuses those, so the object is then reached through /proc/self/fd. With
`at` the attribute belongs to that entry of the directory `fd`. Attribute names and values are bytes.
"""

from __future__ import annotations

import errno
import os

#: errno values that mean "there is no such attribute here": none set, or a file system without attributes.
ABSENT = (errno.ENODATA, errno.EOPNOTSUPP)


def getxattr(fd: int, attribute: bytes, *, at: bytes = b"") -> bytes | None:
    """Return the value, or None where the attribute or the file system's support for it is absent."""
    try:
        if at:
            return os.getxattr(_path(fd, at), attribute, follow_symlinks=False)
        try:
            return os.getxattr(fd, attribute)
        except OSError as error:
            if error.errno != errno.EBADF:
                raise
            return os.getxattr(_path(fd), attribute)
    except OSError as error:
        if error.errno in ABSENT:
            return None
        raise


def listxattr(fd: int, *, at: bytes = b"") -> list[bytes]:
    """Return the names of all attributes that the caller may see, sorted."""
    try:
        if at:
            names = os.listxattr(_path(fd, at), follow_symlinks=False)
        else:
            try:
                names = os.listxattr(fd)
            except OSError as error:
                if error.errno != errno.EBADF:
                    raise
                names = os.listxattr(_path(fd))
    except OSError as error:
        if error.errno in ABSENT:
            return []
        raise
    return sorted(os.fsencode(name) for name in names)


def setxattr(fd: int, attribute: bytes, value: bytes, *, at: bytes = b"") -> None:
    """Set the attribute, whether it was there or not."""
    if at:
        os.setxattr(_path(fd, at), attribute, value, follow_symlinks=False)
        return
    try:
        os.setxattr(fd, attribute, value)
    except OSError as error:
        if error.errno != errno.EBADF:
            raise
        os.setxattr(_path(fd), attribute, value)


def removexattr(fd: int, attribute: bytes, *, at: bytes = b"") -> None:
    """Remove the attribute; its absence is accepted."""
    try:
        if at:
            os.removexattr(_path(fd, at), attribute, follow_symlinks=False)
            return
        try:
            os.removexattr(fd, attribute)
        except OSError as error:
            if error.errno != errno.EBADF:
                raise
            os.removexattr(_path(fd), attribute)
    except OSError as error:
        if error.errno not in ABSENT:
            raise


def _path(fd: int, at: bytes = b"") -> bytes:
    # A magic link ends the walk where it leads, so an O_PATH descriptor of a symbolic link is not followed further.
    return b"/proc/self/fd/%d/%b" % (fd, at) if at else b"/proc/self/fd/%d" % fd
