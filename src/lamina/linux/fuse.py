"""The device /dev/fuse: opening, lending files to it, and mounting a file system that a process serves.

Sources: fuse(4), linux/fuse.h, Documentation/filesystems/fuse. An ordinary user outside a user namespace mounts through
fusermount3(1), which passes the descriptor over a socket.
"""

from __future__ import annotations

import errno
import fcntl
import os

from lamina.errors import LaminaError, Unsupported
from lamina.linux import mount as kernel

DEVICE = "/dev/fuse"

_BACKING_OPEN = 0x4010E501  # _IOW(229, 1, struct fuse_backing_map)
_BACKING_CLOSE = 0x4004E502  # _IOW(229, 2, uint32_t)


def open_device() -> int:
    """Open a new connection; the caller closes it. Unsupported where the device is missing or closed to us."""
    try:
        return os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise Unsupported("open", DEVICE, error, "load the fuse module, or give this container /dev/fuse") from error


def backing_open(device: int, fd: int) -> int:
    """Lend the open file `fd` to the connection and return its backing id (Linux 6.9, CAP_SYS_ADMIN: EPERM without)."""
    argument = bytearray(fd.to_bytes(4, "little") + bytes(12))
    backing_id: int = fcntl.ioctl(device, _BACKING_OPEN, argument)
    return backing_id


def can_lend() -> bool:
    """Tell whether this kernel has `backing_open`: one that has refuses it on a device that is not mounted."""
    fd = open_device()
    try:
        backing_open(fd, fd)
    except OSError as error:
        return error.errno == errno.EPERM
    finally:
        os.close(fd)
    return True


def backing_close(device: int, backing_id: int) -> None:
    """Take back what `backing_open` lent; files that are open through it stay so."""
    fcntl.ioctl(device, _BACKING_CLOSE, backing_id.to_bytes(4, "little"))


def mount(
    device: int, target: str, *, source: str, subtype: str, flags: int, options: tuple[str, ...], read_size: int
) -> None:
    """Mount what `device` will serve on the directory `target`: mount(2), as root or inside a user namespace.

    `options` are words of the kernel's file system (default_permissions, allow_other). The mount
    answers once INIT does.
    """
    words = [f"fd={device}", "rootmode=40000", f"user_id={os.getuid()}", f"group_id={os.getgid()}"]
    words += [f"max_read={read_size}", *options]
    kernel.mount(source, target, f"fuse.{subtype}", flags, ",".join(words))


def set_read_ahead(target: str, size: int) -> None:
    """Let the kernel read `size` bytes ahead on the mount at `target`, once it is served; root alone may (sysfs)."""
    from lamina.linux.mountinfo import mount_points

    found = [point for point in mount_points() if point.path == target]
    if found:
        with open(f"/sys/class/bdi/{found[-1].device}/read_ahead_kb", "w", encoding="ascii") as file:
            file.write(str(size // 1024))


def fusermount(target: str, *, source: str, subtype: str, options: tuple[str, ...]) -> int:
    """Mount on `target` as an ordinary user, and return the connection's descriptor, which the caller closes.

    Unsupported where fusermount3 is missing, LaminaError where it refuses (its reason goes to standard error).
    """
    import socket

    words = [f"fsname={source}", f"subtype={subtype}", *options]
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with ours:
        with theirs:
            environment = {**os.environ, "_FUSE_COMMFD": str(theirs.fileno())}
            os.set_inheritable(theirs.fileno(), True)
            argv = ["fusermount3", "-o", ",".join(words), "--", target]
            pid = _spawn(argv, environment)
        _, received, _, _ = socket.recv_fds(ours, 1, 1)
        _, status = os.waitpid(pid, 0)
    if not received:
        reason = f"fusermount3 ended with status {os.waitstatus_to_exitcode(status)}"
        raise LaminaError("mount by fusermount3 on", target, reason)
    os.set_inheritable(received[0], False)
    return received[0]


def fusermount_unmount(target: str) -> None:
    """Take the mount of `fusermount` off `target`, at once, whoever still uses it. LaminaError where it is refused."""
    pid = _spawn(["fusermount3", "-u", "-z", "--", target], dict(os.environ))
    _, status = os.waitpid(pid, 0)
    if status:
        raise LaminaError("unmount", target, f"fusermount3 ended with status {os.waitstatus_to_exitcode(status)}")


def _spawn(argv: list[str], environment: dict[str, str]) -> int:
    try:
        return os.posix_spawnp(argv[0], argv, environment)
    except FileNotFoundError as error:
        raise Unsupported("mount as an ordinary user", "", "fusermount3 is missing", "apt install fuse3") from error
