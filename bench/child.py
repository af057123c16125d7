"""Run a shell command with nothing on its standard output, and print its seconds and its memory.

python -I bench/child.py COMMAND

A program of its own and a small one: what a process had resident counts for the children that it starts, too, until
they have become another program (execve(2) keeps the maximum, getrusage(2) tells it).
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time


def main(command: str) -> int:
    """Print the seconds, and the largest resident size of one of the processes in KiB; return the status."""
    start = time.perf_counter()
    status = subprocess.call(["/bin/sh", "-ec", command], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - start
    print(seconds, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
