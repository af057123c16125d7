"""Mounts: mount(2), umount2(2), pivot_root(2) and the mount API of descriptors (fsopen(2) and its family).

All of it acts on the mount namespace of the calling process. Who may call `pivot_root` and detach mounts is decided
elsewhere (`lamina.linux.namespaces.MountNamespace`).
"""

from __future__ import annotations

import errno
import os

from lamina.linux.libc import call

# mount(2)
MS_RDONLY = 0x1
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_REMOUNT = 0x20
MS_NOATIME = 0x400
MS_NODIRATIME = 0x800
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 0x40000
MS_SLAVE = 0x80000
MS_RELATIME = 0x200000

# umount2(2)
MNT_DETACH = 0x2
UMOUNT_NOFOLLOW = 0x8

# fsopen(2), fsconfig(2), fsmount(2), move_mount(2), open_tree(2), mount_setattr(2)
FSOPEN_CLOEXEC = 0x1
FSMOUNT_CLOEXEC = 0x1
FSCONFIG_SET_FLAG = 0
FSCONFIG_SET_STRING = 1
FSCONFIG_SET_FD = 5
FSCONFIG_CMD_CREATE = 6
MOVE_MOUNT_F_EMPTY_PATH = 0x4
MOVE_MOUNT_T_EMPTY_PATH = 0x40
OPEN_TREE_CLONE = 0x1
OPEN_TREE_CLOEXEC = os.O_CLOEXEC
AT_FDCWD = -100
AT_EMPTY_PATH = 0x1000
AT_RECURSIVE = 0x8000
MOUNT_ATTR_RDONLY = 0x1
MOUNT_ATTR_NOSUID = 0x2
MOUNT_ATTR_NODEV = 0x4
MOUNT_ATTR_NOEXEC = 0x8
MOUNT_ATTR_NOATIME = 0x10
MOUNT_ATTR_NODIRATIME = 0x80

#: The attributes of mount_setattr(2) and the flags of mount(2) that mean the same.
ATTRIBUTE_FLAGS = (
    (MOUNT_ATTR_RDONLY, MS_RDONLY),
    (MOUNT_ATTR_NOSUID, MS_NOSUID),
    (MOUNT_ATTR_NODEV, MS_NODEV),
    (MOUNT_ATTR_NOEXEC, MS_NOEXEC),
    (MOUNT_ATTR_NOATIME, MS_NOATIME),
    (MOUNT_ATTR_NODIRATIME, MS_NODIRATIME),
)


def mount(source: str, target: str, fstype: str, flags: int, data: str = "") -> None:
    """Mount `source` on `target`: mount(2). `data` is cut by the kernel at one page; longer is refused here (E2BIG)."""
    raw = os.fsencode(data)
    if len(raw) >= os.sysconf("SC_PAGESIZE"):
        raise OSError(errno.E2BIG, os.strerror(errno.E2BIG))
    call("mount", os.fsencode(source), os.fsencode(target), os.fsencode(fstype), flags, raw or None)


def umount2(target: str, flags: int) -> None:
    """Take the topmost mount off `target`: umount2(2)."""
    call("umount2", os.fsencode(target), flags)


def pivot_root(new_root: str, put_old: str) -> None:
    """Make `new_root` the root of every process of this mount namespace: pivot_root(2). See the module's docstring."""
    call("pivot_root", os.fsencode(new_root), os.fsencode(put_old))


def fsopen(fstype: str, flags: int = FSOPEN_CLOEXEC) -> int:
    """Open a configuration context for a new file system; the caller closes it. ENOSYS before Linux 5.2."""
    return call("fsopen", fstype.encode(), flags)


def fsconfig_set_flag(fs_fd: int, key: str) -> None:
    """Set an option that has no value."""
    call("fsconfig", fs_fd, FSCONFIG_SET_FLAG, key.encode(), None, 0)


def fsconfig_set_string(fs_fd: int, key: str, value: str) -> None:
    """Set an option to a text of at most 255 bytes (EINVAL beyond)."""
    call("fsconfig", fs_fd, FSCONFIG_SET_STRING, key.encode(), os.fsencode(value), 0)


def fsconfig_set_fd(fs_fd: int, key: str, fd: int) -> None:
    """Set an option to an open file, which may be O_PATH. For overlay's layers: Linux 6.13."""
    call("fsconfig", fs_fd, FSCONFIG_SET_FD, key.encode(), None, fd)


def fsconfig_create(fs_fd: int) -> None:
    """Make the file system out of what was configured."""
    call("fsconfig", fs_fd, FSCONFIG_CMD_CREATE, None, None, 0)


def fsmount(fs_fd: int, attributes: int) -> int:
    """Return a descriptor of a detached mount of the created file system; the caller closes it."""
    return call("fsmount", fs_fd, FSMOUNT_CLOEXEC, attributes)


def kernel_messages(fs_fd: int) -> list[str]:
    """Return what the kernel wrote about a failed configuration, oldest first, without its "e " prefixes."""
    messages: list[str] = []
    while True:
        try:
            line = os.read(fs_fd, 1024)
        except OSError:  # ENODATA: no more of them
            return messages
        messages.append(line.decode("utf-8", "replace").strip().partition(" ")[2])


def open_tree(dir_fd: int, path: str, flags: int) -> int:
    """Open a mount or, with OPEN_TREE_CLONE, a detached copy of it (with AT_RECURSIVE of all below it)."""
    return call("open_tree", dir_fd, os.fsencode(path), flags | OPEN_TREE_CLOEXEC)


def move_mount(from_fd: int, to_fd: int) -> None:
    """Attach the detached mount `from_fd` on what `to_fd` (O_PATH will do) names."""
    call("move_mount", from_fd, b"", to_fd, b"", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH)


def mount_setattr(dir_fd: int, path: str, flags: int, attr_set: int, propagation: int = 0) -> None:
    """Add attributes to a mount, with AT_RECURSIVE to all below it: all of them or none. ENOSYS before Linux 5.12."""
    import ctypes

    attributes = (ctypes.c_uint64 * 4)(attr_set, 0, propagation, 0)  # struct mount_attr
    call("mount_setattr", dir_fd, os.fsencode(path), flags, ctypes.byref(attributes), ctypes.sizeof(attributes))
