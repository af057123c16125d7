"""How much room a tree takes on disk."""

from __future__ import annotations

import os
import stat

from lamina.layer.descend import Descent


def disk_usage(path: str) -> tuple[int, int]:
    """Return the bytes of the blocks of `path` and all below it, hard links counted once, and the number of entries."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    inodes: set[tuple[int, int]] = set()
    blocks = os.fstat(fd).st_blocks
    entries = 0
    try:
        with Descent(fd) as down:
            levels = [os.listdir(down.fd)]
            while levels:
                if not levels[-1]:
                    levels.pop()
                    if levels:
                        down.leave()
                    continue
                name = os.fsencode(levels[-1].pop())
                st = os.stat(name, dir_fd=down.fd, follow_symlinks=False)
                entries += 1
                if stat.S_ISDIR(st.st_mode):
                    down.enter(name)
                    levels.append(os.listdir(down.fd))
                elif st.st_nlink > 1:
                    if (st.st_dev, st.st_ino) in inodes:
                        continue
                    inodes.add((st.st_dev, st.st_ino))
                blocks += st.st_blocks
    finally:
        os.close(fd)
    return blocks * 512, entries
