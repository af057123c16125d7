"""Entering an id map: a user namespace for the calling process, or for a child of it.

The process must have one thread. A namespace's map is written from outside: by newuidmap(1) and newgidmap(1) for a
range, directly for a single id, where the kernel also wants setgroups(2) given up first (user_namespaces(7)).
"""

from __future__ import annotations

import errno
import os

from lamina.errors import Unsupported
from lamina.ids.map import IdMap
from lamina.ids.subid import find_program
from lamina.linux.namespaces import CLONE_NEWUSER, unshare

_THREAD_END = 1.0  # seconds


def enter(ids: IdMap) -> None:
    """Make the calling process root in a new user namespace with this map; for root's own ids do nothing.

    Raises Unsupported with the reason where the host refuses namespaces or the map.
    """
    if ids.kind == "host":
        return
    if ids.kind == "single":
        unshare_user()
        try:
            write_map("self", ids.lines(groups=False), ids.lines(groups=True), setgroups=False)
        except OSError as error:
            raise _refused("map its ids in", error) from error
    else:
        _enter_range(ids)
    become_root()


def become_root() -> None:
    """Take the ids 0 of the namespace that the process just entered. Supplementary groups stay as they are."""
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)


def unshare_user() -> None:
    """unshare(CLONE_NEWUSER), with the cause of a refusal told apart."""
    try:
        if _has_threads():
            _wait_for_ending_threads()
        unshare(CLONE_NEWUSER)
    except OSError as error:
        raise _refused("make", error) from error


def _refused(doing: str, error: OSError) -> Unsupported:
    refusal = why_refused(error)
    return Unsupported(doing, "a user namespace", refusal.reason, refusal.hint)


def _has_threads() -> bool:
    return os.stat("/proc/self/task").st_nlink > 3  # `.`, `..`, and one


def _wait_for_ending_threads() -> None:
    """Give threads that were joined the moment that they need to be gone: Python before 3.13 does not wait for it."""
    import time

    deadline = time.monotonic() + _THREAD_END
    while _has_threads() and time.monotonic() < deadline:
        time.sleep(0.001)


def write_map(pid: str, uid_lines: str, gid_lines: str, *, setgroups: bool) -> None:
    """Write the maps of the process `pid` ("self" for the caller) without helper programs."""
    if not setgroups:
        _write(f"/proc/{pid}/setgroups", "deny")
    _write(f"/proc/{pid}/uid_map", uid_lines)
    _write(f"/proc/{pid}/gid_map", gid_lines)


def _write(path: str, text: str) -> None:
    with open(path, "wb", buffering=0) as file:  # one write(2): a map is taken whole or not at all
        file.write(text.encode())


def _enter_range(ids: IdMap) -> None:
    """Have a child, which stays outside, run newuidmap and newgidmap for this process once it has its namespace."""
    parent = os.getpid()
    ready_read, ready_write = os.pipe()
    told_read, told_write = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(ready_write)
            if os.read(ready_read, 1):
                os.write(told_write, _map_from_outside(parent, ids).encode())
            status = 0
        finally:
            os._exit(status)
    os.close(ready_read)
    os.close(told_write)
    try:
        unshare_user()
        os.write(ready_write, b"1")
        said = os.read(told_read, 4096).decode("utf-8", "replace")
    finally:
        os.close(ready_write)
        os.close(told_read)
        os.waitpid(child, 0)
    if said != "ok":
        raise Unsupported(
            "map",
            "the ids of /etc/subuid",
            said or "the helper ended without a word",
            "newuidmap and newgidmap must be set-id root or have cap_setuid and cap_setgid (Debian: reinstall uidmap)",
        )


def enter_within(ids: IdMap) -> None:
    """Make the calling process, which has entered `ids`, root in another namespace inside with the same ids.

    This is what a container's first process does; here a child, which stays outside, writes the map.
    """
    parent = os.getpid()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(write)
            if os.read(read, 1):
                uid_lines, gid_lines = ids.inner_lines(groups=False), ids.inner_lines(groups=True)
                write_map(str(parent), uid_lines, gid_lines, setgroups=True)
                status = 0
        except OSError as error:
            status = error.errno or 1
        finally:
            os._exit(status)
    os.close(read)
    try:
        unshare_user()
        os.write(write, b"1")
    finally:
        os.close(write)
        _, ended = os.waitpid(child, 0)
    if failed := os.waitstatus_to_exitcode(ended):
        cause = OSError(failed, os.strerror(failed))
        raise _refused("map the ids of", cause) from cause
    become_root()


def _map_from_outside(pid: int, ids: IdMap) -> str:
    """Run both programs for `pid`; return "ok" or what went wrong."""
    for name, lines in (("newuidmap", ids.lines(groups=False)), ("newgidmap", ids.lines(groups=True))):
        program = find_program(name)
        if program is None:
            return f"{name} is not installed"
        said = _run(program, [name, str(pid), *lines.split()])
        if said:
            return said
    return "ok"


def _run(program: str, argv: list[str]) -> str:
    """Run a program and return nothing, or what it said when it failed. (subprocess costs 10 ms at start-up.)"""
    read, write = os.pipe()
    pid = os.posix_spawn(program, argv, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, write, 2)])
    os.close(write)
    with open(read, "rb") as pipe:
        said = pipe.read().decode("utf-8", "replace").strip()
    _, status = os.waitpid(pid, 0)
    return "" if status == 0 else said or f"{argv[0]} failed"


class Refusal:
    """Why a user namespace was refused: the reason, and what helps: a command for root, or an advice."""

    __slots__ = ("advice", "command", "reason")

    def __init__(self, reason: str, *, command: str = "", advice: str = "") -> None:
        self.reason = reason
        self.command = command
        self.advice = advice

    @property
    def hint(self) -> str:
        """The command or the advice, as one line."""
        return ", or ".join(filter(None, (f"as root: {self.command}" if self.command else "", self.advice)))


def why_refused(error: OSError) -> Refusal:
    """Tell apart the causes of a refused user namespace, which look alike to unshare(2) but for one."""
    if error.errno == errno.ENOSPC or _setting("/proc/sys/user/max_user_namespaces") == "0":
        reason = "user.max_user_namespaces is 0 or used up"
        return Refusal(reason, command="sysctl -w user.max_user_namespaces=10000")
    if error.errno == errno.EINVAL:
        return Refusal("this process has more than one thread", advice="let lamina's helper process do it")
    if forbidden := _forbidden_to_users():
        return forbidden
    if _is_in_chroot():
        return Refusal("this process is in a chroot, where the kernel allows none", advice="enter it by pivot_root(2)")
    if _setting("/proc/self/status", "Seccomp:") not in ("", "0"):
        return Refusal(
            f"a seccomp filter of an outer container answers {os.strerror(error.errno or 0)}",
            advice="run the outer container with --security-opt seccomp=unconfined",
        )
    return Refusal(error.strerror or "refused")


def _forbidden_to_users() -> Refusal | None:
    """Return the setting for ordinary users that refuses, if there is one."""
    if _is_privileged():
        return None
    if _setting("/proc/sys/kernel/unprivileged_userns_clone") == "0":
        reason = "kernel.unprivileged_userns_clone is 0"
        return Refusal(reason, command="sysctl -w kernel.unprivileged_userns_clone=1")
    if _setting("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1":
        return Refusal(
            "AppArmor restricts user namespaces of ordinary users",
            command="sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
            advice="a profile with `userns,`",
        )
    return None


def _is_privileged() -> bool:
    """Tell whether settings for ordinary users do not concern this process: in another user namespace they do."""
    from lamina.linux import capability
    from lamina.linux.namespaces import in_first_user_namespace

    return in_first_user_namespace() and capability.number("SYS_ADMIN") in capability.effective_set()


def _is_in_chroot() -> bool:
    """Tell whether the root of this process is no mount point: user_namespaces(7) then answers EPERM."""
    lines = _setting("/proc/self/mountinfo").splitlines()
    return bool(lines) and not any(line.split()[4] == "/" for line in lines)


def _setting(path: str, field: str = "") -> str:
    """Return a kernel setting as text, or the named field of a status file; empty where there is none."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            text = file.read()
    except OSError:
        return ""
    if not field:
        return text.strip()
    return next((line.removeprefix(field).strip() for line in text.splitlines() if line.startswith(field)), "")
