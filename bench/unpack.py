"""How fast a layer is unpacked, beside GNU tar and tarfile: python bench/unpack.py ARCHIVE [SCRATCH]

ARCHIVE is a tar, compressed or not; SCRATCH a directory, best on tmpfs (/dev/shm). Run as root, so that all three give
the owners. GNU tar decompresses by a program of its own and checks no digest. Prints the median of five runs each, in
turns, as seconds and as a ratio to GNU tar, with the machine and the versions.
"""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from lamina.events import ignore
from lamina.ids.worker import Fd
from lamina.layer import jobs
from lamina.overlay.format import TRUSTED

_ROUNDS = 5


def _lamina(archive: str, target: str) -> None:
    with open(archive, "rb") as file:
        jobs.apply_layer(
            stream=Fd(file.fileno()), staging=target, below=[], owners_below=[], space=TRUSTED, single_id=False,
            expected_diff_id="", on_event=ignore,
        )  # fmt: skip


def _gnu_tar(archive: str, target: str) -> None:
    os.mkdir(target)
    subprocess.run(["tar", "-C", target, "--xattrs", "--xattrs-include=*", "-xpf", archive], check=True)


def _tarfile(archive: str, target: str) -> None:
    with tarfile.open(archive) as tar:
        if hasattr(tarfile, "fully_trusted_filter"):  # Python 3.11.4
            tar.extraction_filter = tarfile.fully_trusted_filter
        tar.extractall(target)


_PEERS: dict[str, Callable[[str, str], None]] = {"GNU tar": _gnu_tar, "lamina": _lamina, "tarfile": _tarfile}


def main(archive: str, scratch: str) -> None:
    """Measure and print."""
    seconds: dict[str, list[float]] = {name: [] for name in _PEERS}
    with tempfile.TemporaryDirectory(dir=scratch) as directory:
        for number in range(_ROUNDS):
            for name, peer in _PEERS.items():
                target = f"{directory}/{number}"
                start = time.perf_counter()
                peer(archive, target)
                seconds[name].append(time.perf_counter() - start)
                jobs.remove_tree(path=target)
    version = subprocess.run(["tar", "--version"], capture_output=True, text=True, check=True).stdout.splitlines()[0]
    size = Path(archive).stat().st_size / 1e6
    print(
        f"{archive}: {size:.0f} MB; {version}; Python {platform.python_version()}; {os.cpu_count()} processors,",
        end=" ",
    )
    print(f"Linux {platform.release()}; median of {_ROUNDS}")
    reference = statistics.median(seconds["GNU tar"])
    for name, taken in seconds.items():
        median = statistics.median(taken)
        print(f"{name:<10}{median:8.2f} s{median / reference:8.2f}")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        raise SystemExit(__doc__)
    main(sys.argv[1], *(sys.argv[2:] or ["/dev/shm"]))
