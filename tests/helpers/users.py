"""The ordinary users that root runs the tests as: one with a range in /etc/subuid, one without."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess

#: By name, whether the user has a range of subordinate ids.
USERS = {"laminasub": True, "laminaplain": False}

_RANGE = 65536


def has_range(name: str, path: str = "/etc/subuid") -> bool:
    """Return whether the file gives ids to the user, by name or by number."""
    try:
        uid = str(pwd.getpwnam(name).pw_uid)
    except KeyError:
        uid = ""
    return any(line.split(":")[0] in (name, uid) for line in _lines(path) if ":" in line)


def ensure_users() -> None:
    """Make the users that do not exist yet. Root only; SystemExit where one exists and is not what it should be."""
    for name, ranged in USERS.items():
        if not _exists(name):
            # useradd gives a range to everybody unless it is told that ranges are empty.
            keys = ["SUB_UID_COUNT=0", "SUB_GID_COUNT=0"]
            words = [word for key in keys for word in ("--key", key)]
            subprocess.run(["useradd", "--create-home", "--shell", "/bin/sh", *words, name], check=True)
            if ranged:
                first = _first_free_id()
                span = f"{first}-{first + _RANGE - 1}"
                subprocess.run(["usermod", "--add-subuids", span, "--add-subgids", span, name], check=True)
        if has_range(name) != ranged or has_range(name, "/etc/subgid") != ranged:
            should = "have" if ranged else "not have"
            raise SystemExit(f"the test user {name} exists and should {should} a range in /etc/subuid and /etc/subgid")


def as_user(name: str, argv: list[str]) -> list[str]:
    """Return the command line with which root runs `argv` as the user, with nothing of root's but the environment."""
    user = pwd.getpwnam(name)
    ids = [f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--init-groups", "--inh-caps=-all"]
    return ["setpriv", *ids, "--", *argv]


def environment(name: str, **more: str) -> dict[str, str]:
    """Return an environment for the user: a login's, and `more`."""
    user = pwd.getpwnam(name)
    return {
        "HOME": user.pw_dir,
        "LANG": "C.UTF-8",
        "LOGNAME": name,
        "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin",
        "PYTHONDONTWRITEBYTECODE": "1",
        "SHELL": "/bin/sh",
        "USER": name,
        **{key: os.environ[key] for key in ("CI", "PYTEST_ADDOPTS", "TERM") if key in os.environ},
        **more,
    }


def _exists(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def _first_free_id() -> int:
    """Return a first id above every range that the machine has given away."""
    ends = [100000]
    for line in (*_lines("/etc/subuid"), *_lines("/etc/subgid")):
        if match := re.fullmatch(r"[^:]+:(\d+):(\d+)", line.strip()):
            ends.append(int(match[1]) + int(match[2]))
    return max(ends)


def _lines(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8") as file:
            return file.readlines()
    except FileNotFoundError:
        return []


def can_switch() -> bool:
    """Return whether this process may run tests as the users: root of the machine, with setpriv at hand."""
    return os.geteuid() == 0 and shutil.which("setpriv") is not None
