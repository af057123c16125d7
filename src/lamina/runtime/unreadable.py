"""Names of the host that this user cannot read: listed in a container over the host, and closed there."""

from __future__ import annotations

import os
import stat
import time
from collections import deque

from lamina.runtime.host import OWN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


def unreadable_names(root: str = "/", *, hidden: tuple[str, ...] = (), deadline: float = float("inf")) -> Iterator[str]:
    """Yield the paths below `root` that this process may not read, those of directories with a slash at the end.

    What is near the root comes first: that matters to programs, and a deep tree may hold thousands of such names. What
    is in such a directory is not known. `hidden` paths and the trees that a container has of its own are left out;
    links are not followed, and devices, fifos and sockets not asked. Raises TimeoutError when time.monotonic() has
    passed the deadline.
    """
    skipped = {*OWN, *hidden}
    rest = deque([root])
    while rest:
        directory = rest.popleft()
        if time.monotonic() > deadline:
            raise TimeoutError(f"not all names below {root} were asked for")
        if not os.access(directory, os.R_OK | os.X_OK, effective_ids=True):
            yield directory.rstrip("/") + "/"
            continue
        try:
            with os.scandir(directory) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError:  # it went away, or its server did
            continue
        for entry in entries:
            if entry.path in skipped:
                continue
            if entry.is_dir(follow_symlinks=False):
                rest.append(entry.path)
            elif entry.is_file(follow_symlinks=False) and _is_closed(entry):
                yield entry.path


def _is_closed(entry: os.DirEntry[str]) -> bool:
    try:
        if entry.stat(follow_symlinks=False).st_mode & stat.S_IROTH:
            return False  # but for a rare ACL; asking about every file would take long
        return not os.access(entry.path, os.R_OK, effective_ids=True)
    except OSError:
        return False
