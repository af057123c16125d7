"""/proc/self/mountinfo as values (proc_pid_mountinfo(5))."""

from __future__ import annotations

import os


class MountPoint:
    """One mount of the calling process's mount namespace. Paths are host paths; `options` are those of the mount.

    `device` is the file system's number, "MAJOR:MINOR".
    """

    __slots__ = ("device", "fstype", "id", "options", "parent", "path", "root", "source", "super_options")

    def __init__(self, line: bytes) -> None:
        head, _, tail = line.partition(b" - ")
        fields = head.split(b" ")
        self.id = int(fields[0])
        self.parent = int(fields[1])
        self.device = fields[2].decode()
        self.root = os.fsdecode(unescape(fields[3]))
        self.path = os.fsdecode(unescape(fields[4]))
        self.options = fields[5].decode().split(",")
        fstype, source, super_options = tail.split(b" ", 2)
        self.fstype = fstype.decode()
        self.source = os.fsdecode(unescape(source))
        self.super_options = os.fsdecode(super_options).split(",")


def unescape(field: bytes) -> bytes:
    r"""Undo the octal escapes \040 \011 \012 \134 of a field."""
    if b"\\" not in field:
        return field
    first, *rest = field.split(b"\\")
    return first + b"".join(bytes((int(part[:3], 8),)) + part[3:] for part in rest)


def mount_points(path: str = "/proc/self/mountinfo") -> list[MountPoint]:
    """Return the mounts in the order in which the kernel lists them: a later one on the same path hides the earlier."""
    with open(path, "rb") as file:
        return [MountPoint(line.rstrip(b"\n")) for line in file]
