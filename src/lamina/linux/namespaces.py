"""Namespaces: unshare(2), and the proof that a mount namespace is one's own."""

from __future__ import annotations

import os

from lamina.linux.libc import call

CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000


def unshare(flags: int) -> None:
    """Give the calling process namespaces of its own. CLONE_NEWUSER is EINVAL once it has a second thread."""
    call("unshare", flags)


def sethostname(name: str) -> None:
    """Set the host name of the calling process's uts namespace."""
    raw = os.fsencode(name)
    call("sethostname", raw, len(raw))


def in_first_user_namespace() -> bool:
    """Tell whether the calling process is in the user namespace in which the machine was started: it has all ids."""
    try:
        with open("/proc/self/uid_map", encoding="utf-8") as file:
            return file.read().split() == ["0", "0", "4294967295"]
    except FileNotFoundError:  # a kernel without user namespaces
        return True


class MountNamespace:
    """A mount namespace that this very process has made: what allows pivot_root and detaching mounts.

    Made by `unshare_mounts` alone. One forgotten unshare before pivot_root takes the root away from every process of
    the machine, so those who pivot take this value and ask `check` first.
    """

    __slots__ = ("_pid", "_name")

    def __init__(self, pid: int, name: str) -> None:
        self._pid = pid
        self._name = name

    def check(self) -> None:
        """Raise RuntimeError unless this process made the namespace and is still in it."""
        if os.getpid() != self._pid or os.readlink("/proc/thread-self/ns/mnt") != self._name:
            raise RuntimeError("this process does not stand in the mount namespace that it made")


def unshare_mounts(more: int = 0) -> MountNamespace:
    """Enter a new mount namespace (with the namespaces `more`, by CLONE_ flags) and return it as a value.

    The pid is the one in the namespace of the caller, so ask before the process becomes another one by fork.
    """
    before = os.readlink("/proc/thread-self/ns/mnt")
    unshare(CLONE_NEWNS | more)
    after = os.readlink("/proc/thread-self/ns/mnt")
    if after == before:
        raise RuntimeError("unshare(CLONE_NEWNS) left the process in its mount namespace")
    return MountNamespace(os.getpid(), after)
