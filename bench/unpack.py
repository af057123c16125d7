"""How fast a layer is unpacked, beside GNU tar and tarfile: python -m bench unpack

As root, so that all three give the owners. GNU tar checks no digest; lamina computes one beside it.
"""

from __future__ import annotations

import os
import platform
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.images import make_layout
from bench.measure import OURS, Comparison, Result, version_of
from bench.unions import own_mounts
from lamina.events import ignore
from lamina.ids.worker import Fd
from lamina.layer import jobs
from lamina.overlay.format import TRUSTED

_ROUNDS = 3


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


def measure(files: int = 66_000, megabytes: int = 800) -> list[Comparison]:
    """Unpack an uncompressed layer on a tmpfs, with each in turn."""
    own_mounts()
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="lamina-bench-") as folder:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "nr_inodes=0,size=80%", "tmpfs", folder], check=True)
        try:
            layout = Path(folder, "layout")
            make_layout(layout, layers=1, files=files, size=megabytes << 20, zipped=False)
            layer = max((layout / "blobs" / "sha256").iterdir(), key=lambda blob: blob.stat().st_size)
            seconds = _times(str(layer), folder)
        finally:
            subprocess.run(["umount", folder], check=True)
    versions = {OURS: "", "GNU tar": version_of("tar"), "tarfile": f"Python {platform.python_version()}"}
    results = [Result(name, versions[name], [], seconds[name]) for name in (OURS, "GNU tar", "tarfile")]
    return [Comparison(f"unpack {files} files, {megabytes} MB", results, aims={"GNU tar": 1.2})]


def _times(archive: str, scratch: str) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {name: [] for name in _PEERS}
    for number in range(_ROUNDS + 1):
        for name, peer in _PEERS.items():
            target = f"{scratch}/{number}"
            start = time.perf_counter()
            peer(archive, target)
            if number:  # the first round warms up
                seconds[name].append(time.perf_counter() - start)
            jobs.remove_tree(path=target)
    return seconds
