"""Run a program where some system calls are refused, as a seccomp filter of an outer container refuses them.

    python -m tests.helpers.deny CALL[:ARGUMENT:BITS]=ERRNO,... PROGRAM [ARGUMENT...]

`unshare:0:0x10000000=EPERM` refuses unshare(CLONE_NEWUSER). Root installs the filter as it is, so that a program
started through setpriv may still use set-id helpers; an ordinary user gives up privileges for it.
"""

from __future__ import annotations

import errno
import os
import sys

from lamina.linux.process import set_no_new_privileges
from lamina.linux.seccomp import Rule, compile_rules, install, machine


def main(argv: list[str]) -> None:
    """Install the filter and become the program."""
    if os.geteuid() != 0:
        set_no_new_privileges()
    install(compile_rules(tuple(map(_rule, filter(None, argv[0].split(",")))), machine()))
    os.execvp(argv[1], argv[1:])


def _rule(text: str) -> Rule:
    what, _, answer = text.partition("=")
    name, *argument = what.split(":")
    number = int(getattr(errno, answer))
    if not argument:
        return Rule(name, number)
    bits = int(argument[1], 0)
    return Rule(name, number, argument=int(argument[0]), mask=bits, value=bits)


if __name__ == "__main__":
    main(sys.argv[1:])
