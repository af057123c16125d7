"""Opening paths beneath a directory descriptor, so that nothing in a tree leads out of it.

openat2(2) does it in one call. Where the kernel or a filter refuses openat2, the same walk is made one component at a
time with O_NOFOLLOW. Names are bytes. Magic links (/proc/PID/fd/N) are never followed.
"""

from __future__ import annotations

import errno
import os
import stat
import struct

from lamina.linux import libc

RESOLVE_NO_XDEV = 0x01
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
RESOLVE_IN_ROOT = 0x10

_MAX_LINKS = 40  # MAXSYMLINKS in the kernel's namei.h

# O_PATH descriptors are enough to go on from, and need no read permission on the directory.
_STEP = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


def openat2(dirfd: int, path: bytes, flags: int, mode: int, resolve: int) -> int:
    """Open `path` and return the descriptor; EAGAIN (a rename raced with `..`) is left to the caller."""
    how = struct.pack("=QQQ", flags, mode, resolve)
    return libc.call("openat2", dirfd, path, how, len(how))


def open_in_root(root: int, path: bytes, flags: int, mode: int = 0) -> int:
    """Open `path` as if the directory `root` were `/`: absolute links and `..` stay inside.

    O_CLOEXEC is added. Raises OSError as open(2) does.
    """
    return _open(root, path, flags, mode, RESOLVE_IN_ROOT)


def open_beneath(root: int, path: bytes, flags: int, mode: int = 0) -> int:
    """Open `path` beneath `root`; EXDEV where the path, or a link on its way, would leave it.

    O_CLOEXEC is added. Raises OSError as open(2) does.
    """
    return _open(root, path, flags, mode, RESOLVE_BENEATH)


def open_parent(root: int, path: bytes) -> tuple[int, bytes]:
    """Open the directory that holds the last component of `path`, resolved as by `open_in_root`.

    Returns the directory's O_PATH descriptor, which the caller closes, and the last component, which is not followed.
    EINVAL where `path` names `root` itself or ends in `..`.
    """
    head, name = os.path.split(path.rstrip(b"/"))
    if name in (b"", b".", b".."):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), os.fsdecode(path))
    return open_in_root(root, head or b".", os.O_PATH | os.O_DIRECTORY), name


def _open(root: int, path: bytes, flags: int, mode: int, resolve: int) -> int:
    flags |= os.O_CLOEXEC
    while True:
        try:
            # The kernel refuses a mode without O_CREAT.
            return openat2(root, path, flags, mode if flags & os.O_CREAT else 0, resolve | RESOLVE_NO_MAGICLINKS)
        except OSError as error:
            if error.errno == errno.EAGAIN:
                continue
            # Filters of older container engines answer EPERM to calls that they do not know.
            if error.errno in (errno.ENOSYS, errno.EPERM):
                return walk(root, path, flags, mode, resolve)
            raise OSError(error.errno, os.strerror(error.errno or 0), os.fsdecode(path)) from None


def walk(root: int, path: bytes, flags: int, mode: int, resolve: int) -> int:
    """Do what openat2 does with RESOLVE_IN_ROOT or RESOLVE_BENEATH, one component at a time.

    A directory that is moved out of `root` by another process during the walk can still be reached, since each step
    starts from a descriptor; `..` goes back to the descriptor before and never asks the kernel.
    """
    if not path:
        raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
    beneath = bool(resolve & RESOLVE_BENEATH)
    chain: list[int] = []  # descriptors below root, from the top down
    try:
        return _walk(root, chain, path, flags | os.O_CLOEXEC, mode, beneath=beneath)
    finally:
        for fd in chain:
            os.close(fd)


def _walk(root: int, chain: list[int], path: bytes, flags: int, mode: int, *, beneath: bool) -> int:
    links = 0
    rest = _split(path, chain, beneath)
    if path.endswith(b"/"):
        flags |= os.O_DIRECTORY
    while rest:
        name = rest.pop()
        if name == b"..":
            _up(chain, beneath)
            continue
        here = chain[-1] if chain else root
        if not rest and flags & os.O_CREAT and flags & os.O_EXCL:
            return os.open(name, flags | os.O_NOFOLLOW, mode, dir_fd=here)
        step = _probe(here, name, creating=not rest and bool(flags & os.O_CREAT))
        if step is None:
            return os.open(name, flags | os.O_NOFOLLOW, mode, dir_fd=here)
        chain.append(step)
        is_link = stat.S_ISLNK(os.fstat(step).st_mode)
        if is_link and (rest or not flags & os.O_NOFOLLOW):
            links += 1
            if links > _MAX_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), os.fsdecode(path))
            target = os.readlink(b"", dir_fd=step)
            os.close(chain.pop())
            rest += _split(target, chain, beneath)
        elif not rest:
            os.close(chain.pop())
            return os.open(name, flags | os.O_NOFOLLOW, mode, dir_fd=chain[-1] if chain else root)
    here = chain[-1] if chain else root
    return os.open(b".", flags, mode, dir_fd=here)


def _probe(here: int, name: bytes, *, creating: bool) -> int | None:
    try:
        return os.open(name, _STEP, dir_fd=here)
    except FileNotFoundError:
        if creating:
            return None
        raise


def _split(path: bytes, chain: list[int], beneath: bool) -> list[bytes]:
    """Return the components, the next one last; an absolute path starts again at the root."""
    if path.startswith(b"/"):
        if beneath:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), os.fsdecode(path))
        while chain:
            os.close(chain.pop())
    return [part for part in reversed(path.split(b"/")) if part not in (b"", b".")]


def _up(chain: list[int], beneath: bool) -> None:
    if chain:
        os.close(chain.pop())
    elif beneath:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
