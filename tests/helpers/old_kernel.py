"""Run a program as if on an older kernel: fsopen, mount_setattr, openat2 and close_range answer ENOSYS.

    python -m tests.helpers.old_kernel PROGRAM [ARGUMENT...]

Root installs the filter as it is, so that a program started through setpriv may still use set-id helpers (newuidmap).
An ordinary user has to give up privileges for it, and with them newuidmap.
"""

from __future__ import annotations

import errno
import os
import sys

from lamina.linux.libc import call
from lamina.linux.process import set_no_new_privileges
from lamina.linux.seccomp import Rule, compile_rules, install, machine

MISSING = ("fsopen", "mount_setattr", "openat2", "close_range")


def main(argv: list[str]) -> None:
    """Install the filter, see that it works, and become the program."""
    if os.geteuid() != 0:
        set_no_new_privileges()
    install(compile_rules(tuple(Rule(name, errno.ENOSYS) for name in MISSING), machine()))
    for name, arguments in (
        ("fsopen", (b"tmpfs", 0)),
        ("mount_setattr", (-1, b"", 0, None, 0)),
        ("openat2", (-1, b"", None, 0)),
        ("close_range", (1 << 31, 1 << 31, 0)),
    ):
        try:
            call(name, *arguments)
        except OSError as error:
            if error.errno == errno.ENOSYS:
                continue
        raise SystemExit(f"the filter lets {name} through")
    os.execvp(argv[0], argv)


if __name__ == "__main__":
    main(sys.argv[1:])
