"""Copying, renaming and closing: file calls that the standard library lacks, or lacks without a fallback."""

from __future__ import annotations

import errno
import os

from lamina.linux import libc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

FICLONE = 0x40049409  # _IOW(0x94, 9, int), linux/fs.h

RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2
RENAME_WHITEOUT = 4

CLOSE_RANGE_CLOEXEC = 4

_BLOCK = 1 << 20
_SMALL = 1 << 14  # bytes that are copied sooner than it is asked whether they must be

# Answers of ioctl(FICLONE) and copy_file_range(2) that only mean "not between these two files".
_NOT_HERE = (
    errno.EXDEV,
    errno.EINVAL,
    errno.ENOSYS,
    errno.EOPNOTSUPP,
    errno.ENOTTY,
    errno.EPERM,
    errno.ETXTBSY,
    errno.EBADF,
)


def copy_data(src_fd: int, dst_fd: int) -> None:
    """Make the regular file `dst_fd`, which is empty, hold the data of `src_fd`, holes included.

    Shares the blocks of all but small files where the file system can (FICLONE), else lets the kernel copy
    (copy_file_range), else reads and writes. File positions are not defined afterwards. Both descriptors stay the
    caller's.
    """
    status = os.fstat(src_fd)
    size = status.st_size
    whole = status.st_blocks * 512 >= size  # else it may have holes
    if size <= _SMALL and whole and len(data := os.pread(src_fd, size + 1, 0)) == size:
        write_all(dst_fd, data, 0)
        return
    if reflink(src_fd, dst_fd):
        return
    for start, end in data_segments(src_fd, size):
        copy_range(src_fd, dst_fd, start, end - start)
    os.ftruncate(dst_fd, size)


def reflink(src_fd: int, dst_fd: int) -> bool:
    """Make `dst_fd` share the blocks of `src_fd`; False where the file system cannot."""
    import fcntl

    try:
        fcntl.ioctl(dst_fd, FICLONE, src_fd)
    except OSError as error:
        if error.errno in _NOT_HERE:
            return False
        raise
    return True


def data_segments(fd: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield (start, end) of each stretch of the first `size` bytes that is not a hole."""
    position = 0
    while position < size:
        try:
            start = os.lseek(fd, position, os.SEEK_DATA)
            end = os.lseek(fd, start, os.SEEK_HOLE)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole up to the end
                return
            if error.errno == errno.EINVAL:  # a file system that does not know holes
                yield position, size
                return
            raise
        yield min(start, size), min(end, size)
        position = end


def copy_range(src_fd: int, dst_fd: int, offset: int, length: int) -> None:
    """Copy `length` bytes at `offset` to the same offset; EIO where the source ends before."""
    end = offset + length
    in_kernel = True
    while offset < end:
        count = 0
        if in_kernel:
            try:
                count = os.copy_file_range(src_fd, dst_fd, end - offset, offset, offset)
            except OSError as error:
                if error.errno not in _NOT_HERE:
                    raise
            # Some file systems answer 0 where read(2) has data (procfs before 5.19): only read(2) decides.
            in_kernel = count > 0
        if not count:
            count = _pump(src_fd, dst_fd, offset, min(end - offset, _BLOCK))
        offset += count


def _pump(src_fd: int, dst_fd: int, offset: int, length: int) -> int:
    data = os.pread(src_fd, length, offset)
    if not data:
        raise OSError(errno.EIO, "the file became shorter while it was copied")
    write_all(dst_fd, data, offset)
    return len(data)


def write_all(fd: int, data: bytes, offset: int) -> None:
    """Write all of `data` at `offset`."""
    view = memoryview(data)
    while view:
        count = os.pwrite(fd, view, offset)
        view = view[count:]
        offset += count


def renameat2(olddirfd: int, oldpath: bytes, newdirfd: int, newpath: bytes, flags: int) -> None:
    """Rename with RENAME_NOREPLACE, RENAME_EXCHANGE or RENAME_WHITEOUT; EINVAL where the file system lacks the flag."""
    libc.call("renameat2", olddirfd, oldpath, newdirfd, newpath, flags)


def syncfs(fd: int) -> None:
    """Write the whole file system that holds `fd` to disk."""
    libc.call("syncfs", fd)


def close_range(first: int, last: int, flags: int) -> None:
    """Close the descriptors from `first` to `last`, or mark them with CLOSE_RANGE_CLOEXEC.

    Where the kernel lacks the call, the open descriptors are read from /proc/self/fd; those of other threads opened
    meanwhile may be missed.
    """
    try:
        libc.call("close_range", first, last, flags)
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.EPERM):
            raise
    else:
        return
    for name in os.listdir("/proc/self/fd"):
        fd = int(name)
        if first <= fd <= last:
            _close_or_mark(fd, flags)


def _close_or_mark(fd: int, flags: int) -> None:
    try:
        if flags & CLOSE_RANGE_CLOEXEC:
            os.set_inheritable(fd, False)
        else:
            os.close(fd)
    except OSError as error:
        if error.errno != errno.EBADF:  # the descriptor of the listing itself is gone
            raise
