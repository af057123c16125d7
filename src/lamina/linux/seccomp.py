"""Seccomp filters (seccomp(2)): a table of rules made into a BPF program, and installing one.

A rule answers a system call with an errno, without doing it; errno 0 pretends success. A rule may look at one argument.
Calls that no rule names are allowed. The program checks the architecture first: calls made through another one of the
same machine (32-bit, x32) are allowed too, since these filters make things possible and protect nothing.
"""

from __future__ import annotations

import ctypes
import os

from lamina.linux.libc import call

_SET_MODE_FILTER = 1
_RET_ALLOW = 0x7FFF0000
_RET_ERRNO = 0x00050000

# BPF instructions (linux/bpf_common.h)
_LOAD, _AND, _JEQ, _JGT, _JGE, _RET = 0x20, 0x54, 0x15, 0x25, 0x35, 0x06

# struct seccomp_data: number, architecture, instruction pointer, then six 64-bit arguments, low word first.
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16

_X32 = 0x40000000  # the bit that marks calls of the x32 architecture, where it exists

#: AUDIT_ARCH of the machines whose numbers the table below has.
_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7, "riscv64": 0xC00000F3}

#: Numbers: (x86_64, generic table of aarch64 and riscv64); None where the machine has no such call.
_NUMBERS: dict[str, tuple[int | None, int | None]] = {
    "chown": (92, None),
    "lchown": (94, None),
    "fchown": (93, 55),
    "fchownat": (260, 54),
    "setgroups": (116, 159),
    "mknod": (133, None),
    "mknodat": (259, 33),
    "unshare": (272, 97),
    "mount": (165, 40),
    "pivot_root": (155, 41),
    "seccomp": (317, 277),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "close_range": (436, 436),
    "openat2": (437, 437),
    "mount_setattr": (442, 442),
}


class Rule:
    """Answer `name` with `errno`; with `argument`, only where that argument masked with `mask` is `value`."""

    __slots__ = ("argument", "errno", "mask", "name", "value")

    def __init__(self, name: str, errno: int, *, argument: int = -1, mask: int = 0, value: int = 0) -> None:
        self.name = name
        self.errno = errno
        self.argument = argument
        self.mask = mask
        self.value = value


def compile_rules(rules: tuple[Rule, ...], machine: str) -> bytes:
    """Return the program (an array of struct sock_filter) for `machine` as uname(2) names it.

    Raises KeyError for a machine or a call that the tables do not know.
    """
    column = 0 if machine == "x86_64" else 1
    program = [
        _instruction(_LOAD, _ARCHITECTURE),
        _instruction(_JEQ, _AUDIT_ARCH[machine], 1, 0),
        _instruction(_RET, _RET_ALLOW),
    ]
    for rule in rules:
        number = _NUMBERS[rule.name][column]
        if number is not None:
            program += _rule(rule, number)
    program.append(_instruction(_RET, _RET_ALLOW))
    return b"".join(program)


def refuse_newer(newest: int, errno: int, machine: str) -> bytes:
    """Return the beginning of a program, which answers the machine's own calls beyond number `newest` with `errno`.

    What else is asked goes on behind it, as do calls of a machine that is not in the table.
    """
    architecture = _AUDIT_ARCH.get(machine)
    if architecture is None:
        return b""
    return b"".join(
        [
            _instruction(_LOAD, _ARCHITECTURE),
            _instruction(_JEQ, architecture, 0, 4),
            _instruction(_LOAD, _NUMBER),
            _instruction(_JGE, _X32, 2, 0),
            _instruction(_JGT, newest, 0, 1),
            _instruction(_RET, _RET_ERRNO | errno),
        ]
    )


def _rule(rule: Rule, number: int) -> list[bytes]:
    answer = _instruction(_RET, _RET_ERRNO | rule.errno)
    load = _instruction(_LOAD, _NUMBER)
    if rule.argument < 0:
        return [load, _instruction(_JEQ, number, 0, 1), answer]
    return [
        load,
        _instruction(_JEQ, number, 0, 4),
        _instruction(_LOAD, _ARGUMENTS + 8 * rule.argument),
        _instruction(_AND, rule.mask),
        _instruction(_JEQ, rule.value, 0, 1),
        answer,
    ]


def _instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return (
        code.to_bytes(2, "little") + bytes((if_true, if_false)) + value.to_bytes(4, "little")
    )  # all machines of the table are little-endian


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def install(program: bytes) -> None:
    """Filter the calling thread and its children, for good. EACCES without no_new_privs or CAP_SYS_ADMIN."""
    value = _Program(len(program) // 8, program)
    call("seccomp", _SET_MODE_FILTER, 0, ctypes.byref(value))


def machine() -> str:
    """Return the machine's name for `compile_rules`."""
    return os.uname().machine
