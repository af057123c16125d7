"""The drivers that present an overlay, and choosing one: the only place where they meet.

- kernel: the kernel's own overlayfs;
- fuse: our union, served by a process over FUSE.

The choice "auto" is made by trying: the kernel's driver, and where it refuses these very directories, ours, with the
kernel's reason as a note. Asked for by name, a driver is used or fails.
"""

from __future__ import annotations

import os

from lamina.errors import LaminaError, Unsupported
from lamina.linux import mount as system
from lamina.overlay import kernel
from lamina.overlay.options import attributes_of, check_known, check_ours, split_generic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Literal

    from lamina.overlay.fuse.start import Server
    from lamina.overlay.stack import Overlay

    Driver = Literal["auto", "kernel", "fuse"]

#: What a driver can be asked for by.
NAMES = ("auto", "kernel", "fuse")


class Mounted:
    """An overlay that is mounted: where, by which driver, the process that serves it or None, and what to tell."""

    __slots__ = ("driver", "note", "server", "target")

    def __init__(self, target: str, driver: str, *, server: Server | None = None, note: str = "") -> None:
        self.target = target
        self.driver = driver
        self.server = server
        self.note = note

    def unmount(self) -> None:
        """Take the mount away and wait until all that was written is in the upper. EBUSY where it is in use."""
        unmount(self.target)
        if self.server is not None:
            self.server.wait_end()


def unmount(target: str) -> None:
    """Take the topmost mount off `target`: an ordinary user's FUSE mount through fusermount3(1).

    OSError EBUSY where it is in use, EINVAL where nothing is mounted.
    """
    try:
        system.umount2(target, system.UMOUNT_NOFOLLOW)
    except PermissionError:
        from lamina.linux import fuse
        from lamina.linux.mountinfo import mount_points

        if not any(
            point.path == os.path.abspath(target) and point.fstype.startswith("fuse") for point in mount_points()
        ):
            raise
        fuse.fusermount_unmount(target)


def mount(
    overlay: Overlay,
    target: str,
    *,
    driver: Driver = "auto",
    attributes: int = 0,
    log: str = "",
    source: str = "lamina",
) -> Mounted:
    """Mount `overlay` on the directory `target`, in the mount namespace of the caller, and return what was mounted.

    `attributes` are MOUNT_ATTR_ flags. A server lives in the caller's namespaces; for a mount namespace that is to end
    with a command, use `mount_served`. `log` and `source` are those of `fuse.start`. Raises Conflict
    for an upper in use, and what the driver raises.
    """
    allow_other = os.geteuid() == 0 or ("allow_other", "") in overlay.options
    overlay, more = split_generic(overlay)
    attributes |= more
    overlay.check_readable()
    if overlay.upper:
        from lamina.overlay.in_use import refuse_locked, refuse_mounted  # a container's upper is locked by its store

        refuse_mounted(overlay.upper, overlay.work)
        refuse_locked(overlay.upper)

    def by_fuse(note: str) -> Mounted:
        from lamina.overlay.fuse.start import start

        server = start(overlay, target, flags=_flags(attributes), allow_other=allow_other, log=log, source=source)
        return Mounted(target, "fuse", server=server, note=note)

    return _choose(overlay, target, driver, attributes, by_fuse)


def mount_served(
    overlay: Overlay, target: str, hand_over: Callable[[int], None], *, driver: Driver = "auto", attributes: int = 0
) -> Mounted:
    """Mount as `mount` does, where the server must live outside: `hand_over` gets the mounted device for it.

    `hand_over` returns once another process has its own copy of the descriptor, for `lamina.overlay.fuse.start.serve`.
    Whoever first looks into the mount waits for the server.
    """
    overlay, more = split_generic(overlay)
    attributes |= more

    def by_fuse(note: str) -> Mounted:
        from lamina.linux import fuse as device
        from lamina.overlay.fuse.start import OPTIONS, READ_SIZE

        check_ours(overlay.options)
        overlay.check()
        fd = device.open_device()
        try:
            device.mount(
                fd,
                target,
                source="lamina",
                subtype="lamina",
                flags=_flags(attributes),
                options=OPTIONS,
                read_size=READ_SIZE,
            )
            hand_over(fd)
        finally:
            os.close(fd)
        return Mounted(target, "fuse", note=note)

    return _choose(overlay, target, driver, attributes, by_fuse)


def _choose(
    overlay: Overlay, target: str, driver: Driver, attributes: int, by_fuse: Callable[[str], Mounted]
) -> Mounted:
    archive = overlay.archive()
    if driver == "fuse" or (driver == "auto" and archive):
        return by_fuse("")
    if archive:
        hint = "lamina mount --driver fuse … shows it as it is"
        raise Unsupported("mount by the kernel's driver", archive, "a layer of its has to be a directory", hint)
    try:
        kernel.mount(overlay, target, attributes=attributes)
        unfit = _unfit(overlay, target) if driver == "auto" else ""
    except Unsupported as error:
        if driver == "kernel":
            raise
        return _instead(overlay, error, by_fuse)
    if unfit:
        system.umount2(target, system.MNT_DETACH)
        return _instead(overlay, Unsupported("mount the overlay on", target, unfit), by_fuse)
    return Mounted(target, "kernel")


def _unfit(overlay: Overlay, target: str) -> str:
    """Return why a mount that the kernel made will not do, or nothing.

    Over an upper that can hold no marks the kernel mounts read-only, with a line in its log alone.
    """
    read_only = bool(os.statvfs(target).f_flag & os.ST_RDONLY)
    return "the kernel mounts this upper read-only" if overlay.upper and read_only else ""


def _instead(overlay: Overlay, error: Unsupported, by_fuse: Callable[[str], Mounted]) -> Mounted:
    check_known(overlay.options)
    try:
        return by_fuse(f"our own driver serves it, since the kernel's says: {error.reason}")
    except LaminaError:
        raise error from None  # the first refusal is the one to mend


def remount(target: str, words: list[str]) -> None:
    """Give a mount of our own driver the attributes that mount(8)'s `words` say, as `mount -o remount` does."""
    system.mount("", target, "", system.MS_REMOUNT | _flags(attributes_of(words)))


def _flags(attributes: int) -> int:
    return sum(flag for attribute, flag in system.ATTRIBUTE_FLAGS if attributes & attribute)
