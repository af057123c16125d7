"""Doing what the mode of an entry of the upper refuses its own owner.

A copy has the mode of what it is a copy of. Without root's rights a directory of mode 0555 can then not be renamed into
another one, nothing be copied up into it, and no mark be set on a file of mode 0444, though the change of the union
that asks for it is allowed.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from typing import TypeVar

from lamina.overlay.union.branch import Branch

_Result = TypeVar("_Result")


def lend(call: Callable[[], _Result], *entries: tuple[Branch, bytes]) -> _Result:
    """Return `call()`; where that is EACCES, again with the entries open to their owner, which then have their modes.

    What is no directory and no regular file is left alone.
    """
    try:
        return call()
    except PermissionError as error:
        if error.errno != errno.EACCES:
            raise
        refusal = error
    opened: list[tuple[int, int]] = []
    try:
        for branch, path in entries:
            fd = branch.open(path, os.O_PATH)
            mode = os.fstat(fd).st_mode
            opened.append((fd, mode))
            wanted = 0o700 if stat.S_ISDIR(mode) else 0o600 if stat.S_ISREG(mode) else 0
            if mode & wanted != wanted:
                os.chmod(b"/proc/self/fd/%d" % fd, stat.S_IMODE(mode) | wanted)
        return call()
    except PermissionError:
        raise refusal from None
    finally:
        for fd, mode in opened:
            if stat.S_IMODE(os.fstat(fd).st_mode) != stat.S_IMODE(mode):
                os.chmod(b"/proc/self/fd/%d" % fd, stat.S_IMODE(mode))
            os.close(fd)
