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
        write_map("self", ids.lines(groups=False), ids.lines(groups=True), setgroups=False)
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
        raise Unsupported("make", "a user namespace", *why_refused(error)) from error


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


def why_refused(error: OSError) -> tuple[str, str]:
    """Return reason and remedy of a refused user namespace: the four causes look alike to unshare(2)."""
    if error.errno == errno.ENOSPC or _setting("/proc/sys/user/max_user_namespaces") == "0":
        return "user.max_user_namespaces is 0 or used up", "as root: sysctl -w user.max_user_namespaces=10000"
    if _setting("/proc/sys/kernel/unprivileged_userns_clone") == "0":
        return "kernel.unprivileged_userns_clone is 0", "as root: sysctl -w kernel.unprivileged_userns_clone=1"
    if _setting("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1":
        return (
            "AppArmor restricts user namespaces of ordinary users",
            "as root: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or a profile with `userns,`",
        )
    if error.errno == errno.EINVAL:
        return "this process has more than one thread", "let lamina's helper process do it"
    if _setting("/proc/self/status", "Seccomp:") not in ("", "0"):
        return (
            f"a seccomp filter of an outer container answers {error.strerror}",
            "run the outer container with --security-opt seccomp=unconfined",
        )
    return error.strerror or "refused", ""


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
