"""Becoming a program in a user namespace with one id, in which giving files to others seems to work.

Run as a program of its own (`command`), since a process with threads cannot enter a namespace.
"""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from lamina.ids.enter import enter
from lamina.ids.map import IdMap
from lamina.linux import seccomp

# Making devices is not among them: mmdebstrap binds the host's in their place where it sees that it cannot.
_PRETENDED = ("chown", "lchown", "fchown", "fchownat", "setgroups")


def command(ids: IdMap, argv: list[str]) -> list[str]:
    """Return what to execute so that `argv` runs inside, with mounts and processes of its own."""
    own = ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--", *argv]
    # -I keeps the environment and the working directory out of it; the path of this program is handed over instead.
    code = f"import sys; sys.path[:] = {sys.path!r}; from lamina.transfer.inside import become; become({str(ids)!r})"
    return [sys.executable, "-I", "-c", code, *own]


def become(ids_text: str) -> NoReturn:
    """Enter the map and execute the program that the arguments of this one name."""
    enter(IdMap.parse(ids_text))
    rules = tuple(seccomp.Rule(name, 0) for name in _PRETENDED)
    seccomp.install(seccomp.compile_rules(rules, seccomp.machine()))
    os.execvp(sys.argv[1], sys.argv[1:])
