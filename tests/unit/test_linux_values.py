"""What lamina.linux makes of values: mountinfo, seccomp programs, capabilities."""

from __future__ import annotations

import errno
import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamina.linux import capability
from lamina.linux.mountinfo import MountPoint, mount_points, unescape
from lamina.linux.seccomp import Rule, compile_rules

_SPECIAL = b" \t\n\\#"


def _escape(name: bytes) -> bytes:
    """Do what the kernel does (seq_path with these characters)."""
    return b"".join(b"\\%03o" % byte if byte in _SPECIAL else bytes((byte,)) for byte in name)


@given(st.binary())
def test_the_kernels_escapes_are_undone(name: bytes) -> None:
    assert unescape(_escape(name)) == name


def test_a_line_of_mountinfo() -> None:
    line = rb"36 35 98:0 /mnt1 /mnt\0402/a\134b rw,noatime shared:1 master:2 - ext3 /dev/ro\040ot rw,errors=continue"
    point = MountPoint(line)
    assert (point.id, point.parent, point.root, point.path) == (36, 35, "/mnt1", "/mnt 2/a\\b")
    assert point.options == ["rw", "noatime"]
    assert (point.fstype, point.source) == ("ext3", "/dev/ro ot")
    assert point.super_options == ["rw", "errors=continue"]


def test_no_optional_fields_and_no_source() -> None:
    point = MountPoint(b"22 1 0:21 / /x ro - tmpfs  rw")
    assert (point.fstype, point.source, point.super_options) == ("tmpfs", "", ["rw"])


def test_the_mounts_of_this_process() -> None:
    assert any(point.path == "/" for point in mount_points())


def test_capability_names() -> None:
    assert capability.number("CHOWN") == 0
    assert capability.number("cap_sys_admin") == capability.number("SYS_ADMIN") == 21
    assert capability.NAMES[40] == "CHECKPOINT_RESTORE"
    with pytest.raises(ValueError):
        capability.number("NOPE")


def _run(program: bytes, number: int, arguments: tuple[int, ...] = (), architecture: int = 0xC000003E) -> int:
    """Run a filter as the kernel would: the few instructions that the compiler writes."""
    data = number.to_bytes(4, "little") + architecture.to_bytes(4, "little") + bytes(8)
    data += b"".join(argument.to_bytes(8, "little") for argument in (*arguments, *(0,) * (6 - len(arguments))))
    at, accumulator = 0, 0
    while True:
        code, if_true, if_false = int.from_bytes(program[at : at + 2], "little"), program[at + 2], program[at + 3]
        value = int.from_bytes(program[at + 4 : at + 8], "little")
        at += 8
        match code:
            case 0x20:
                accumulator = int.from_bytes(data[value : value + 4], "little")
            case 0x54:
                accumulator &= value
            case 0x15:
                at += 8 * (if_true if accumulator == value else if_false)
            case 0x06:
                return value
            case _:
                raise AssertionError(f"no such instruction: {code:#x}")


ALLOW, ERRNO = 0x7FFF0000, 0x00050000


def test_rules_are_told_apart() -> None:
    rules = (
        Rule("chown", 0),
        Rule("mknod", errno.EPERM, argument=1, mask=0o170000, value=0o060000),
        Rule("openat2", errno.ENOSYS),
    )
    program = compile_rules(rules, "x86_64")
    assert len(program) % 8 == 0
    assert _run(program, 92) == ERRNO
    assert _run(program, 437) == ERRNO | errno.ENOSYS
    assert _run(program, 133, (0, 0o060644)) == ERRNO | errno.EPERM
    assert _run(program, 133, (0, 0o100644)) == ALLOW, "only block devices"
    assert _run(program, 0) == ALLOW
    assert _run(program, 92, architecture=0x40000003) == ALLOW, "another architecture has other numbers"


def test_calls_that_a_machine_lacks_are_left_out() -> None:
    assert compile_rules((Rule("chown", 0),), "aarch64") == compile_rules((), "aarch64")
    assert _run(compile_rules((Rule("fchown", 0),), "riscv64"), 55, architecture=0xC00000F3) == ERRNO


def test_unknown_machines_and_calls() -> None:
    with pytest.raises(KeyError):
        compile_rules((), "vax")
    with pytest.raises(KeyError):
        compile_rules((Rule("no-such-call", 0),), "x86_64")


_FILTERED = """
import os
from lamina.linux.process import set_no_new_privileges
from lamina.runtime.child import FAKE_OWNERS
from lamina.linux.seccomp import compile_rules, install, machine
set_no_new_privileges()
install(compile_rules(FAKE_OWNERS, machine()))
os.chown("/", 1234, 1234)
os.setgroups([1, 2, 3])
os.mknod("/no/such/directory", 0o060644, os.makedev(7, 0))
try:
    os.mknod("/no/such/directory", 0o100644)
except FileNotFoundError:
    print("plain files are made")
"""


def test_owners_are_faked() -> None:
    before = os.stat("/").st_uid
    done = subprocess.run([sys.executable, "-c", _FILTERED], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("plain files are made\n", "")
    assert os.stat("/").st_uid == before
