"""The filter of system calls: docker's own rules by default, a profile of one's own, or none."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from tests.helpers.command import Lamina

pytestmark = pytest.mark.requires("userns", "overlay", "libseccomp")

_CALLS = """
import ctypes, errno, json, sys
libc = ctypes.CDLL(None, use_errno=True)
library = ctypes.CDLL("libseccomp.so.2")
answers = {}
for name, *arguments in json.loads(sys.argv[1]):
    number = library.seccomp_syscall_resolve_name(name.encode()) if isinstance(name, str) else name
    done = libc.syscall(number, *arguments)
    answers[name] = "ok" if done >= 0 else errno.errorcode[ctypes.get_errno()]
print(json.dumps(answers))
"""


def answers(lamina: Lamina, *options: str, calls: list[list[object]]) -> dict[str, str]:
    """Return what the kernel answers in a container over the host to calls: [NAME or number, ARGUMENT...]."""
    words = [*options, "host", "/usr/bin/python3", "-c", _CALLS, json.dumps(calls)]
    found: dict[str, str] = json.loads(lamina("run", "--rm", *words).stdout)
    return found


_REFUSED: list[list[object]] = [
    ["keyctl", 0, 0, 0, 0, 0],
    ["unshare", 0x10000000],  # CLONE_NEWUSER
    ["io_uring_setup", 1, 0],
    ["personality", 0x40000],  # ADDR_NO_RANDOMIZE
    ["socket", 40, 1, 0],  # AF_VSOCK
    ["add_key", 0, 0, 0, 0, 0],
    ["userfaultfd", 0],
    ["swapon", 0, 0],
]


def test_dockers_rules_hold(lamina: Lamina) -> None:
    said = answers(lamina, calls=[*_REFUSED, ["clone3", 0, 0], [1000], ["getpid"], ["personality", 8]])
    assert {said[str(name)] for name, *_ in _REFUSED if name != "personality"} == {"EPERM"}
    assert (said["clone3"], said["1000"], said["getpid"], said["personality"]) == ("ENOSYS", "ENOSYS", "ok", "ok")
    assert "Seccomp:\t2" in lamina("run", "--rm", "host", "cat", "/proc/self/status").stdout
    (kept,) = os.listdir(lamina.store / "seccomp")
    assert kept.startswith("default-")


@pytest.mark.parametrize("option", ["--privileged", "--security-opt=seccomp=unconfined"])
def test_there_is_none_when_told_so(lamina: Lamina, option: str) -> None:
    said = answers(lamina, option, calls=[["unshare", 0x10000000], ["personality", 0x40000]])
    assert said == {"unshare": "ok", "personality": "ok"}


def test_a_capability_opens_what_it_is_for(lamina: Lamina) -> None:
    assert answers(lamina, "--cap-drop", "SYS_CHROOT", calls=[["chroot", 0]]) == {"chroot": "EPERM"}
    assert answers(lamina, calls=[["chroot", 0]]) == {"chroot": "EFAULT"}


def test_a_profile_of_ones_own(lamina: Lamina, scratch: Path) -> None:
    profile = scratch / "profile.json"
    rule = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno.EXDEV}
    profile.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}))
    options = ("--security-opt", "seccomp=profile.json")
    done = lamina("run", "--rm", *options, "host", "mkdir", "/tmp/made", status=1)
    assert "Invalid cross-device link" in done.stderr
    assert answers(lamina, *options, calls=[["personality", 0x40000]]) == {"personality": "ok"}
    profile.write_text('{"defaultAction": "SCMP_ACT_MAYBE"}')
    done = lamina("run", "--rm", *options, "host", "true", status=125)
    assert done.stderr == (
        f"lamina: cannot read the seccomp profile {profile}: $.defaultAction: SCMP_ACT_MAYBE is no action that lamina"
        " knows\n"
    )
    done = lamina("run", "--rm", "--security-opt", "seccomp=missing.json", "host", "true", status=125)
    assert "missing.json: No such file or directory" in done.stderr
