"""Removing a tree of any depth and of any modes, without following a link and without leaving its mount."""

from __future__ import annotations

import errno
import os

from lamina.layer.descend import Descent

_PATH = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove_tree(path: str) -> None:
    """Remove `path`, whatever it is, with all below it; its absence is accepted.

    EBUSY where something is mounted in it: nothing of that is touched.
    """
    head, name = os.path.split(os.path.abspath(path))
    try:
        parent = os.open(head, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        remove_at(parent, os.fsencode(name))
    finally:
        os.close(parent)


def remove_at(parent: int, name: bytes) -> None:
    """Remove the entry `name` of the directory `parent`, as `remove_tree` does."""
    if _unlink(parent, name):
        return
    mount = _mount_of(parent)
    with Descent(parent) as down:
        stack = [[name]]  # what is left to remove of each level
        trail: list[bytes] = []
        while True:
            if stack[-1]:
                child = stack[-1].pop()
                if not _unlink(down.fd, child):
                    down.enter_open(_open(down.fd, child, mount))
                    trail.append(child)
                    stack.append([os.fsencode(text) for text in os.listdir(down.fd)])
            elif trail:
                stack.pop()
                os.rmdir(trail.pop(), dir_fd=down.leave())
            else:
                return


def _unlink(parent: int, name: bytes) -> bool:
    """Unlink what is no directory and tell whether that is done; absence counts as done."""
    for attempt in (1, 2):
        try:
            os.unlink(name, dir_fd=parent)
        except FileNotFoundError:
            return True
        except IsADirectoryError:
            return False
        except PermissionError as error:
            # Also what unlink answers for a directory on some file systems; EACCES: the parent may not be written.
            if _is_directory(parent, name):
                return False
            if attempt == 2 or error.errno != errno.EACCES:
                raise
            os.chmod(f"/proc/self/fd/{parent}", 0o700)
        else:
            return True
    return True


def _is_directory(parent: int, name: bytes) -> bool:
    try:
        os.close(os.open(name, _PATH, dir_fd=parent))
    except (NotADirectoryError, OSError) as error:
        if error.errno in (errno.ENOTDIR, errno.ELOOP):
            return False
        raise
    return True


def _open(parent: int, name: bytes, mount: int) -> int:
    """Open the directory `name` for reading, making that possible where its mode forbids it."""
    fd = os.open(name, _PATH, dir_fd=parent)
    try:
        if _mount_of(fd) != mount:
            raise OSError(errno.EBUSY, "a file system is mounted there", os.fsdecode(name))
        try:
            readable = os.open(b".", _READ, dir_fd=fd)
        except PermissionError:
            os.chmod(f"/proc/self/fd/{fd}", 0o700)
            return os.open(b".", _READ, dir_fd=fd)
        if os.fstat(readable).st_mode & 0o300 != 0o300:
            os.fchmod(readable, 0o700)
        return readable
    finally:
        os.close(fd)


def _mount_of(fd: int) -> int:
    """Return the id of the mount that `fd` lies on: a bind of the same file system has another."""
    with open(f"/proc/self/fdinfo/{fd}", "rb") as file:
        for line in file:
            if line.startswith(b"mnt_id:"):
                return int(line[7:])
    raise OSError(errno.ENOSYS, "the kernel does not tell mounts apart")
