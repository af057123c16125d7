"""The drivers that show a stack, tried on the store's own file system: the kernel's overlayfs, and ours over FUSE."""

from __future__ import annotations

import os

from lamina.doctor.disk import ROOM, STORE, XATTRS
from lamina.doctor.identity import NESTED, as_container
from lamina.doctor.namespaces import MOUNT, own_mounts
from lamina.doctor.values import NO_REMEDY, Host, Missing, Probe, everywhere, package
from lamina.ids.subid import find_program
from lamina.linux import fuse
from lamina.linux.namespaces import in_first_user_namespace
from lamina.overlay import drivers
from lamina.overlay.stack import Overlay

KERNEL, DEVICE, FUSE = "kernel overlay", "FUSE device", "FUSE mount"
_FUSERMOUNT = package("fuse3")
_MODULE = everywhere("modprobe fuse")


def probes(host: Host) -> list[Probe]:
    """Return the probes. Of the two drivers one must work."""
    before = (NESTED, MOUNT, STORE, ROOM, XATTRS)
    found = [
        Probe(KERNEL, "the quick driver", _kernel, remedy=everywhere("modprobe overlay"), after=before),
        Probe(DEVICE, "lamina's own driver", _device, remedy=_MODULE),
        Probe(FUSE, "run host without root, and where the kernel's is unfit", _fuse, after=(*before, DEVICE)),
    ]
    if not host.is_root:
        found.append(
            Probe("fusermount3", "lamina mount without root", _fusermount, after=(STORE, ROOM, XATTRS, DEVICE))
        )
    return found


def _stack(host: Host, name: str) -> tuple[Overlay, str]:
    """Make a stack of two layers, and where to mount it."""
    home = f"{host.scratch}/{name}"
    for directory in ("", "/low", "/low/dir", "/high", "/upper", "/work", "/merged"):
        os.mkdir(home + directory)
    for file in ("/low/dir/old", "/high/top"):
        with open(home + file, "xb") as made:
            made.write(b"text")
    overlay = Overlay(
        [f"{home}/low", f"{home}/high"],
        upper=f"{home}/upper",
        work=f"{home}/work",
        userxattr=not in_first_user_namespace(),
    )
    return overlay, f"{home}/merged"


def _use(merged: str) -> None:
    """Do in a mounted stack what shows whether it is one: read, change, and delete a directory and make it again."""
    if sorted(os.listdir(merged)) != ["dir", "top"]:
        raise Missing("the layers are not shown over each other")
    with open(f"{merged}/top", "r+b") as file:
        file.write(b"n")
    os.unlink(f"{merged}/dir/old")
    os.rmdir(f"{merged}/dir")
    os.mkdir(f"{merged}/dir")
    if os.listdir(f"{merged}/dir"):
        raise Missing("a directory that was deleted and made again shows its old content")


def _kernel(host: Host) -> str:
    as_container(host)
    own_mounts()
    overlay, merged = _stack(host, "kernel")
    mounted = drivers.mount(overlay, merged, driver="kernel")
    if os.statvfs(merged).f_flag & os.ST_RDONLY:
        raise Missing("mounts read-only: the store's file system cannot hold its marks", NO_REMEDY)
    _use(merged)
    mounted.unmount()
    return "mounts, and forgets what is deleted"


def _device(host: Host) -> str:
    os.close(fuse.open_device())
    return f"{fuse.DEVICE} can be opened"


def _fuse(host: Host) -> str:
    as_container(host)
    own_mounts()
    overlay, merged = _stack(host, "fuse")
    mounted = drivers.mount(overlay, merged, driver="fuse")
    _use(merged)
    mounted.unmount()
    return "mounts, and forgets what is deleted"


def _fusermount(host: Host) -> str:
    """Mount as an ordinary user does, in the namespace of all: it is taken away in the same breath."""
    if find_program("fusermount3") is None:
        raise Missing("fusermount3 not found", _FUSERMOUNT)
    overlay, merged = _stack(host, "fusermount")
    try:
        mounted = drivers.mount(overlay, merged, driver="fuse")
        _use(merged)
        mounted.unmount()
    finally:
        if os.path.ismount(merged):
            drivers.unmount(merged)
    return "mounts for an ordinary user"
