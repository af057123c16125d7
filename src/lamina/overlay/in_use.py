"""Whether an upper is in use: by one of our unions, which holds a lock on it, or in an overlay that the kernel shows.

Mounts are looked for in every mount namespace that the caller may see, by one process of each. Where one of them tells
its upper by a name that nobody else can follow (a relative one, or before Linux 6.13 that of a descriptor), the kernel
is asked by trying, which whoever may mount can do.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time

from lamina.errors import Conflict
from lamina.linux.mountinfo import MountPoint, mount_points, unescape

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

#: Seconds: umount(8) returns before the server of the mount that it took away has ended, and given its upper free.
PATIENCE = 2.0


def refuse_mounted(upper: str, work: str = "") -> None:
    """Raise Conflict where an overlay of the kernel's writes to these directories. A missing one is in no use."""
    for directory, role in ((upper, "upperdir"), (work, "workdir")):
        if directory and os.path.isdir(directory):
            for point in mounts_with(directory, (role,)):
                raise Conflict("write to the upper", upper, f"it is mounted on {point}", f"lamina umount {point}")
    refuse_held(upper, work)


def refuse_held(*directories: str) -> None:
    """Raise Conflict where a mount that cannot be named may be one of these directories', and the kernel says it is."""
    if not any(_unnamed()):
        return
    for directory in directories:
        if directory and os.path.isdir(directory) and _is_held(directory):
            hint = "grep overlay /proc/*/mountinfo, and umount the one that is meant"
            raise Conflict("use", directory, "it is the upper or work directory of a mount of the kernel's", hint)


def refuse_locked(upper: str) -> None:
    """Raise Conflict where a union of ours writes to the directory, and does not end soon."""
    if upper and os.path.isdir(upper):
        os.close(lock(upper, patience=PATIENCE))


def lock(root: str, *, patience: float = 0.0) -> int:
    """Take the upper for this process until the descriptor is closed; the kernel would let two mounts damage it.

    Conflict where another union has it. `patience` is how many seconds the server of a mount that was taken away has
    to end; who is seen to go on using it is not waited for.
    """
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    end = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if time.monotonic() < end and _may_be_ending(fd):
                time.sleep(0.005)
                continue
            os.close(fd)
            hint = "close the other union or unmount it"
            raise Conflict("write to the upper", root, "it is in use", hint) from error
        return fd


def _may_be_ending(fd: int) -> bool:
    """Tell whether the holder of the lock may be a server whose mount is gone: False where it is seen to be none."""
    try:
        pid = _holder(fd)
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read().split(b"\0")
        if b"lamina.overlay.fuse" not in words:
            return not words[0]  # a process that is ending has no words any more
        target = os.fsdecode(words[words.index(b"lamina.overlay.fuse") + 1])
        mounts = mount_points(f"/proc/{pid}/mountinfo")
    except OSError:
        return True
    return not any(point.path == target and point.fstype.startswith("fuse") for point in mounts)


def _holder(fd: int) -> str:
    """Return the number of the process that took the lock. ESRCH where none is seen, or it was given free by now."""
    state = os.fstat(fd)
    wanted = f"{os.major(state.st_dev):02x}:{os.minor(state.st_dev):02x}:{state.st_ino}"
    with open("/proc/locks") as file:
        found = [fields[4] for line in file if "FLOCK" in (fields := line.split()) and fields[5] == wanted]
    if not found:
        raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH))
    return found[0]


def mounts_with(directory: str, roles: tuple[str, ...]) -> Iterator[str]:
    """Yield where overlays are mounted that use `directory` as one of `roles`: upperdir, workdir, lowerdir."""
    wanted = os.stat(directory)
    real = os.path.realpath(directory)
    for pid, point in _overlays():
        directories = _directories(point.super_options, roles)
        if any(_is_same(path, real, wanted, pid) for path in directories):
            yield point.path


def _overlays() -> Iterator[tuple[str, MountPoint]]:
    for pid in _one_of_each_namespace():
        try:
            with open(f"/proc/{pid}/mountinfo", "rb") as file:
                lines = [line.rstrip(b"\n") for line in file if b" - overlay " in line]
        except OSError:  # it has ended, or is not ours to see
            continue
        yield from ((pid, point) for point in map(MountPoint, lines) if point.fstype == "overlay")


def _unnamed() -> Iterator[str]:
    """Yield the uppers of mounts that are told by a name which leads nowhere, or elsewhere."""
    for _, point in _overlays():
        for path in _directories(point.super_options, ("upperdir",)):
            if not path.startswith("/") or path.startswith("/proc/"):
                yield path


def _is_held(directory: str) -> bool:
    """Ask the kernel by an overlay that it can never make, since its upper and work directory are one.

    With index=on a directory that is another overlay's upper or work is EBUSY before that is found out (ovl_get_upper
    and ovl_get_workdir in fs/overlayfs/super.c). Nothing is written. Who may not mount is told no.
    """
    from lamina.linux import mount as system

    fd = fs = -1
    try:
        fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        fs = system.fsopen("overlay")
        for key in ("lowerdir", "upperdir", "workdir"):
            system.fsconfig_set_string(fs, key, f"/proc/self/fd/{fd}")  # a text of the path would have a limit
        system.fsconfig_set_string(fs, "index", "on")
        system.fsconfig_create(fs)
    except OSError as error:
        return error.errno == errno.EBUSY
    finally:
        for opened in (fs, fd):
            if opened >= 0:
                os.close(opened)
    return False


def _one_of_each_namespace() -> Iterator[str]:
    seen = set()
    for pid in ("self", *filter(str.isdecimal, os.listdir("/proc"))):
        try:
            namespace = os.readlink(f"/proc/{pid}/ns/mnt")
        except PermissionError:  # in a user namespace beside ours: its mounts are told, which namespace it is is not
            namespace = pid
        except OSError:
            continue
        if namespace not in seen:
            seen.add(namespace)
            yield pid


def _directories(options: list[str], roles: tuple[str, ...]) -> Iterator[str]:
    for option in options:
        name, _, value = option.partition("=")
        if name.rstrip("+") in roles:
            text = os.fsdecode(unescape(os.fsencode(value)))
            yield from text.split(":") if name == "lowerdir" else (text,)


def _is_same(path: str, real: str, wanted: os.stat_result, pid: str) -> bool:
    if path == real:
        return True
    try:
        return os.path.samestat(os.stat(f"/proc/{pid}/root/{path}"), wanted)
    except OSError:
        return False
