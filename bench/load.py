"""How fast an image is loaded, beside podman and GNU tar: python bench/load.py [SCRATCH [FILES [MEGABYTES]]]

An image of one uncompressed layer is made (50,000 files, 600 MB), and loaded from an archive into stores that are
empty; GNU tar unpacks the same layer, and sha256sum hashes it at the same time, on another processor. Run as root in a
mount namespace of its own. Prints the median of three runs each, in turns, and the ratio to GNU tar.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.images import make_layout
from bench.turns import Peer, print_table, take_turns

_LAMINA = [sys.executable, "-m", "lamina"]


def main(scratch: str, files: int, megabytes: int) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory(dir=scratch) as directory:
        top = Path(directory)
        make_layout(top / "layout", layers=1, files=files, size=megabytes << 20, zipped=False)
        layer = max((top / "layout" / "blobs" / "sha256").iterdir(), key=lambda blob: blob.stat().st_size)
        archive = top / "image.tar"
        subprocess.run(["tar", "-C", top / "layout", "-cf", archive, "."], check=True)
        peers = [
            Peer("GNU tar", f"sha256sum {layer} & tar -C {{0}} -xpf {layer}; wait", "tar --version"),
            Peer("lamina", f"LAMINA_ROOT={{0}}/store {' '.join(_LAMINA)} load -i {archive}", ""),
        ]
        if shutil.which("podman"):
            podman = f"podman --root {{0}}/root --runroot {{0}}/run load -q -i {archive}"
            peers.append(Peer("podman", podman, "podman --version"))
        print(f"{files} files, {layer.stat().st_size / 1e6:.0f} MB, {os.cpu_count()} processors")
        print_table(take_turns(peers, top, rounds=3), reference="GNU tar")


if __name__ == "__main__":
    given = sys.argv[1:]
    scratch, files, megabytes = [*given, *["/var/tmp", "50000", "600"][len(given) :]]
    main(scratch, int(files), int(megabytes))
