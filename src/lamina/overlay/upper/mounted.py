"""Whether a directory is part of an overlay that the kernel shows somewhere.

Looks at every mount namespace that the caller may see, by one process of each. A mount whose upper stands in
/proc/PID/mountinfo only as a descriptor's name (before Linux 6.13) is not recognised.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from lamina.linux.mountinfo import mount_points, unescape


def mounts_with(directory: str, roles: tuple[str, ...]) -> Iterator[str]:
    """Yield where overlays are mounted that use `directory` as one of `roles`: upperdir, workdir, lowerdir."""
    wanted = os.stat(directory)
    real = os.path.realpath(directory)
    for pid in _one_of_each_namespace():
        try:
            points = mount_points(f"/proc/{pid}/mountinfo")
        except OSError:  # it has ended, or is not ours to see
            continue
        for point in points:
            if point.fstype == "overlay" and any(
                _is_same(path, real, wanted, pid) for path in _directories(point.super_options, roles)
            ):
                yield point.path


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
