"""What the benchmarks of unions share: a fresh ext4 with a journal, layers, and the drivers that are compared.

Run as root: python -m bench.lookup
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.measure import OURS, Comparison, Result
from lamina.linux.namespaces import unshare_mounts
from lamina.overlay.fuse.start import THREADS, Server, start
from lamina.overlay.stack import Overlay

FILES = 22_000
#: The drivers that are compared where nothing else is asked for.
USUAL = ("kernel", "fuse-overlayfs", "fuse-overlayfs-threaded", "lamina")
_DIRECTORIES = 1_100

#: Our own driver with passthrough, which is measured where large files are read.
LENDING = "lamina-passthrough"


class Driver:
    """A way to mount a stack: `name`, and how."""

    def __init__(self, name: str, mount: Callable[[list[Path], Path, Path], Server | None]) -> None:
        self.name = name
        self._mount = mount

    @contextmanager
    def mounted(self, layers: list[Path], place: Path) -> Iterator[Path]:
        """Mount the layers (base first) with the upper that is in `place`, and take the mount away afterwards."""
        target = place / "merged"
        server = self._mount(layers, place, target)
        try:
            yield target
        finally:
            subprocess.run(["umount", str(target)], check=True)
            if server:
                server.wait_end()


def drivers(wanted: Sequence[str]) -> list[Driver]:
    """Return the drivers of the names asked for that this machine has."""
    known = {
        "kernel": _kernel,
        "fuse-overlayfs": lambda layers, place, target: _fuse_overlayfs(layers, place, target, ""),
        "fuse-overlayfs-threaded": lambda layers, place, target: _fuse_overlayfs(layers, place, target, ",threaded=1"),
        "lamina-one": lambda layers, place, target: _lamina(layers, place, target, threads=1),
        LENDING: lambda layers, place, target: _lamina(layers, place, target, passthrough=True),
        "lamina": _lamina,
    }
    if not shutil.which("fuse-overlayfs"):
        known = {name: mount for name, mount in known.items() if not name.startswith("fuse-overlayfs")}
    return [Driver(name, mount) for name, mount in known.items() if name in (wanted or USUAL)]


def _options(layers: list[Path], place: Path) -> str:
    lower = ":".join(str(layer) for layer in reversed(layers))
    return f"lowerdir={lower},upperdir={place}/upper,workdir={place}/work"


def _kernel(layers: list[Path], place: Path, target: Path) -> None:
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", _options(layers, place), str(target)], check=True)


def _fuse_overlayfs(layers: list[Path], place: Path, target: Path, more: str) -> None:
    subprocess.run(["fuse-overlayfs", "-o", _options(layers, place) + more, str(target)], check=True)


def _lamina(
    layers: list[Path], place: Path, target: Path, *, threads: int = THREADS, passthrough: bool = False
) -> Server:
    lowers = [str(layer) for layer in layers]
    if passthrough:
        overlay = Overlay(lowers, options=(("passthrough", ""),))
    else:
        overlay = Overlay(lowers, upper=str(place / "upper"), work=str(place / "work"))
    return start(overlay, str(target), allow_other=True, threads=threads)


def own_mounts() -> None:
    """Enter a mount namespace from which nothing reaches the machine's. Root alone may."""
    unshare_mounts()
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)


@contextmanager
def disk(size: int = 8 << 30) -> Iterator[Path]:
    """Give an empty directory on a fresh ext4 with a journal, in a file; this process's mounts are its own then."""
    own_mounts()
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="lamina-bench-") as folder:
        Path(folder).chmod(0o755)  # an ordinary user may be measured there
        image, top = Path(folder, "image"), Path(folder, "disk")
        top.mkdir()
        with image.open("wb") as file:
            file.truncate(size)
        subprocess.run(["mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", str(image)], check=True)
        subprocess.run(["mount", "-o", "loop", str(image), str(top)], check=True)
        try:
            yield top
        finally:
            # Lazily: what a peer has left running ends when it likes.
            subprocess.run(["umount", "--lazy", str(top)], check=True)


def place_in(top: Path, name: str) -> Path:
    """Make the directories of one mount, empty."""
    place = top / name
    shutil.rmtree(place, ignore_errors=True)
    for part in ("upper", "work", "merged"):
        (place / part).mkdir(parents=True)
    return place


def make_layers(top: Path, files: int = FILES) -> list[Path]:
    """Make three layers of small files whose directories overlap; deterministic."""
    layers = [top / f"layer{n}" for n in range(3)]
    for number in range(files):
        folder = layers[number % 3] / f"d{number % _DIRECTORIES % 37}" / f"e{number % _DIRECTORIES}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"file{number}").write_bytes(b"%d\n" % number * (50 + number * 7919 % 900))
    return layers


def drop_caches() -> None:
    """Write everything to disk and make the kernel forget pages, names and inodes."""
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3")


def seconds(command: str, folder: Path) -> float:
    """Return how long the shell command takes in `folder`."""
    begin = time.monotonic()
    subprocess.run(["sh", "-c", command], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - begin


class Table:
    """Times by measure and driver, and their ratio to the peer's."""

    def __init__(self, peer: str) -> None:
        self._peer = peer
        self._times: dict[str, dict[str, list[float]]] = {}

    def add(self, measure: str, driver: str, time_taken: float) -> None:
        """Keep one time, in seconds."""
        self._times.setdefault(measure, {}).setdefault(driver, []).append(time_taken)

    def comparisons(self, aims: dict[str, float]) -> list[Comparison]:
        """Return the times by measure, our own first; `aims` are what ours is to take of the peer's, by measure."""
        versions = {**dict.fromkeys(("fuse-overlayfs", "fuse-overlayfs-threaded"), _peer_version())}
        versions["kernel"] = platform.release()
        found = []
        for measure, by_driver in self._times.items():
            ours_first = sorted(by_driver.items(), key=lambda item: item[0] != OURS)
            results = [Result(driver, versions.get(driver, ""), [], times) for driver, times in ours_first]
            found.append(Comparison(measure, results, aims={self._peer: aims[measure]} if measure in aims else {}))
        return found

    def print(self) -> None:
        """Print the medians as JSON: measure, driver, seconds, and the fraction of the peer's time."""
        rows = {}
        for measure, by_driver in self._times.items():
            medians = {driver: statistics.median(times) for driver, times in by_driver.items()}
            peer = medians.get(self._peer)
            rows[measure] = {
                driver: {"seconds": round(median, 3), **({"of peer": round(median / peer, 2)} if peer else {})}
                for driver, median in medians.items()
            }
        report = {"machine": _machine(), "peer": self._peer, "median of": _runs(self._times), "times": rows}
        json.dump(report, sys.stdout, indent=1)
        sys.stdout.write("\n")


def _runs(times: dict[str, dict[str, list[float]]]) -> int:
    return max((len(taken) for by_driver in times.values() for taken in by_driver.values()), default=0)


def _machine() -> dict[str, str]:
    return {
        "kernel": platform.release(),
        "python": platform.python_version(),
        "cores": str(os.cpu_count()),
        "fuse-overlayfs": _peer_version(),
    }


def _peer_version() -> str:
    if not shutil.which("fuse-overlayfs"):
        return "not installed"
    said = subprocess.run(["fuse-overlayfs", "--version"], capture_output=True, text=True, check=False).stdout
    found = [line.rpartition(" ")[2] for line in said.splitlines() if line.startswith("fuse-overlayfs")]
    return found[0] if found else "unknown"
