"""Limits of resources: which tree of cgroups there is, and which controllers this user could use.

The first version has a tree for each controller, the second one tree for all; both may be mounted (cgroups(7)).
"""

from __future__ import annotations

import os

from lamina.doctor.values import Host, Missing, Probe
from lamina.linux.mountinfo import mount_points

_NAME = "lamina-doctor"


def probes() -> list[Probe]:
    """Return the probe."""
    return [Probe("cgroups", "limits of memory, processor time and processes", _cgroups)]


def _cgroups(host: Host) -> str:
    own = _own_groups()
    unified, trees = _mounted()
    usable: set[str] = set()
    refused: set[str] = set()
    if unified and (path := _inside(unified, own.get("", ""))):
        (usable if _can_make(path) else refused).update(_read(f"{path}/cgroup.controllers").split())
    for names, mount in trees:
        for name in names:
            path = _inside(mount, own.get(name, ""))
            (usable if path and _can_make(path) else refused).add(name)
    version = "hybrid" if unified and trees else "version 2" if unified else "version 1" if trees else ""
    if not version:
        raise Missing("none are mounted")
    if not usable:
        given = ", ".join(sorted(refused)) or "no controllers"
        advice = "" if host.is_root else "; a systemd user session with Delegate=yes could be given them"
        raise Missing(f"{version} ({given}): this user may not make groups{advice}")
    return f"{version}: {', '.join(sorted(usable))}"


def _own_groups() -> dict[str, str]:
    """Return this process's group in the tree of each controller; "" is the tree of version 2."""
    groups = {}
    for line in _read("/proc/self/cgroup").splitlines():
        number, names, path = line.split(":", 2)
        for name in names.split(",") if number != "0" else [""]:
            groups[name] = path
    return groups


def _mounted() -> tuple[tuple[str, str] | None, list[tuple[list[str], tuple[str, str]]]]:
    """Return the tree of version 2, and the controllers with their tree for each of version 1: (mount, its root)."""
    unified, trees = None, []
    for point in mount_points():
        if point.fstype == "cgroup2":
            unified = (point.path, point.root)
        elif point.fstype == "cgroup":
            names = [name for name in point.super_options if name in _CONTROLLERS]
            if names:
                trees.append((names, (point.path, point.root)))
    return unified, trees


_CONTROLLERS = frozenset((
    "blkio", "cpu", "cpuacct", "cpuset", "devices", "freezer", "hugetlb", "memory", "misc", "net_cls", "net_prio",
    "perf_event", "pids", "rdma",
))  # fmt: skip


def _inside(tree: tuple[str, str], group: str) -> str:
    """Return the path of `group` in a mounted tree, or "" where the mount does not show it."""
    mount, root = tree
    if not group or group.startswith("/.."):
        return ""
    relative = os.path.relpath(group, root)
    path = mount if relative == "." else f"{mount}/{relative}"
    return "" if relative.startswith("..") or not os.path.isdir(path) else path


def _can_make(path: str) -> bool:
    """Make a group within the group at `path`, and take it away."""
    child = f"{path}/{_NAME}-{os.getpid()}"
    try:
        os.mkdir(child)
    except OSError:
        return False
    os.rmdir(child)
    return True


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
