"""The memory that our server needs for the names that the kernel knows, and gives back when it forgets them.

python -m bench.memory [NAMES]

The names (1,000,000 unless told otherwise; 100,000 take a few seconds) stand in a layer on a tmpfs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.measure import OURS, Comparison, Result
from bench.unions import own_mounts, place_in
from lamina.overlay.fuse.start import start
from lamina.overlay.stack import Overlay

_IN_ONE_FOLDER = 1000


def measure() -> list[Comparison]:
    """Return what a million names take, and what stays of it."""
    sizes = walk(1_000_000)
    return [
        Comparison(f"memory {when}, a million names", [Result(OURS, "", [], [sizes[when] / (1 << 20)])], unit="MiB")
        for when in ("before", "behind the walk", "forgotten")
    ] + [Comparison("memory for each name", [Result(OURS, "", [], [float(sizes["for each name"])])], unit="bytes")]


def walk(names: int) -> dict[str, int]:
    """Return the server's resident bytes before a walk, behind it, and once the kernel forgot; and for each name."""
    own_mounts()
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="lamina-bench-") as folder:
        top = Path(folder)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "nr_inodes=0,size=90%", "tmpfs", str(top)], check=True)
        try:
            layer = top / "layer"
            _make(layer, names)
            place = place_in(top, "place")
            overlay = Overlay([str(layer)], upper=str(place / "upper"), work=str(place / "work"))
            server = start(overlay, str(place / "merged"), allow_other=True)
            try:
                before = _resident(server.pid)
                subprocess.run(["find", ".", "-printf", ""], cwd=place / "merged", check=True)
                walked = _resident(server.pid)
                Path("/proc/sys/vm/drop_caches").write_text("2")  # names and inodes: the kernel sends FORGET
                os.statvfs(place / "merged")  # answered behind them
                forgotten = _resident(server.pid)
            finally:
                subprocess.run(["umount", str(place / "merged")], check=True)
                server.wait_end()
        finally:
            subprocess.run(["umount", str(top)], check=True)
    return {
        "names": names,
        "before": before,
        "behind the walk": walked,
        "forgotten": forgotten,
        "for each name": (walked - before) // names,
    }


def _make(layer: Path, names: int) -> None:
    for number in range(names):
        folder = layer / f"folder{number // _IN_ONE_FOLDER}"
        if number % _IN_ONE_FOLDER == 0:
            folder.mkdir(parents=True)
        os.mknod(f"{folder}/file-of-a-usual-name-{number}")


def _resident(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmRSS:")]
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    print(json.dumps(walk(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000), indent=1))
