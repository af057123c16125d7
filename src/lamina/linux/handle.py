"""File handles: name_to_handle_at(2), and the identity of a file system; and fallocate(2) with its modes."""

from __future__ import annotations

import os
import struct

from lamina.linux.libc import call

_MAX_HANDLE = 128  # MAX_HANDLE_SZ
_HEADER = struct.Struct("=Ii")
_GETFSUUID = 0x80111500  # _IOR(0x15, 0, struct fsuuid2), linux/fs.h


def name_to_handle_at(dirfd: int, path: bytes) -> tuple[int, bytes]:
    """Return the type and the bytes of the handle of `path`, whose last component is not followed.

    EOPNOTSUPP where the file system has no handles.
    """
    import ctypes

    buffer = ctypes.create_string_buffer(_HEADER.pack(_MAX_HANDLE, 0), _HEADER.size + _MAX_HANDLE)
    mount_id = ctypes.c_int()
    call("name_to_handle_at", dirfd, path, ctypes.addressof(buffer), ctypes.addressof(mount_id), 0)
    length, kind = _HEADER.unpack_from(buffer)
    return kind, buffer.raw[_HEADER.size : _HEADER.size + length]


def file_system_uuid(fd: int) -> bytes:
    """Return the 16 bytes that identify the file system of `fd`, or zeros where it tells none (before Linux 6.9)."""
    import fcntl

    answer = bytearray(17)
    try:
        fcntl.ioctl(fd, _GETFSUUID, answer)
    except OSError:
        return bytes(16)
    return bytes(answer[1:17]) if answer[0] == 16 else bytes(16)


def fallocate(fd: int, mode: int, offset: int, length: int) -> None:
    """Reserve, punch or zero a range: fallocate(2), `mode` being its FALLOC_FL flags."""
    call("fallocate", fd, mode, offset, length)


def open_for_ioctl(dirfd: int) -> int:
    """Open the directory that an O_PATH descriptor names, for calls that O_PATH refuses; the caller closes it."""
    return os.open(b".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=dirfd)
