"""Building images: twenty commands, files copied, and all of it from the cache; lamina, docker, buildah, podman.

As root, in a private mount namespace, on a tmpfs: python -m bench build. What is measured is the time from the command
line to the image. `uncached` is with a line in the Dockerfile that no build had before; `cached` the same line again.
The programs take turns. docker builds with BuildKit where its client has buildx, and with its classic builder.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from bench import peers
from bench.measure import Comparison, Result, version_of

_ROUNDS = 2
_FILES = 20_000
_LARGE = 1 << 30
#: What lamina's time is to be at most, as a part of the peer's: the aims of the project.
_AIMS: dict[str, dict[str, float]] = {
    "twenty commands, uncached": {"docker-buildkit": 1 / 8, "docker-classic": 1 / 20, "buildah": 1 / 20},
    "twenty commands, cached": {"docker-buildkit": 1.0, "docker-classic": 1.0, "buildah": 1 / 5},
    f"{_FILES} files, uncached": {"docker-buildkit": 1 / 3, "buildah": 1 / 3},
    f"{_FILES} files, cached": {"docker-buildkit": 1.0},
    "one file of 1 GiB, uncached": {"docker-buildkit": 1 / 4, "docker-classic": 1 / 4, "buildah": 1 / 4},
}
_CONF = '[containers]\ndefault_ulimits = []\n[engine]\ncgroup_manager = "cgroupfs"\nruntime = "crun"\n'


@dataclass(frozen=True, slots=True)
class _Builder:
    name: str
    argv: list[str]  # what comes before -f FILE CONTEXT
    env: dict[str, str]


def measure() -> list[Comparison]:
    """Time the programs that are installed; lamina comes first."""
    with _scratch() as top, peers.docker(top) as docker:
        env = {**os.environ, "LAMINA_ROOT": f"{top}/store", "CONTAINERS_CONF": f"{top}/containers.conf"}
        (top / "containers.conf").write_text(_CONF)
        turns = _Turns([*_prepare(top, env), *_docker(top, docker)], top)
        twenty = [f"RUN echo {number}" for number in range(20)]
        found = turns.both("twenty commands", ["FROM base:1"], twenty, top / "empty")
        found += turns.both(f"{_FILES} files", ["FROM base:1"], ["COPY . /files/"], _many_files(top / "many"))
        shutil.rmtree(top / "many")
        found += turns.both("one file of 1 GiB", ["FROM base:1"], ["COPY . /large/"], _large_file(top / "large"))
    return found


class _Turns:
    """Builds by all programs, one after the other."""

    def __init__(self, builders: list[_Builder], top: Path) -> None:
        self._builders = builders
        self._top = top
        self._numbers = count()

    def both(self, title: str, head: list[str], lines: list[str], context: Path) -> list[Comparison]:
        """Time builds of what no build had before, and the same again."""
        context.mkdir(exist_ok=True)
        fresh: dict[str, list[float]] = {builder.name: [] for builder in self._builders}
        again: dict[str, list[float]] = {builder.name: [] for builder in self._builders}
        for _ in range(_ROUNDS):
            path = self._top / "Dockerfile"
            path.write_text("\n".join([*head, f"WORKDIR /round{next(self._numbers)}", *lines, ""]))
            for seconds in (fresh, again):
                for builder in self._builders:
                    seconds[builder.name].append(self._time(builder, path, context))
        return [
            Comparison(what, self._results(seconds), aims=_AIMS.get(what, {}))
            for what, seconds in ((f"{title}, uncached", fresh), (f"{title}, cached", again))
        ]

    def _time(self, builder: _Builder, dockerfile: Path, context: Path) -> float:
        argv = [*builder.argv, "-f", str(dockerfile), str(context)]
        start = time.perf_counter()
        done = subprocess.run(
            argv, env=builder.env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        seconds = time.perf_counter() - start
        if done.returncode:
            raise SystemExit(f"{' '.join(argv)}\n{done.stderr}")
        return seconds

    def _results(self, seconds: dict[str, list[float]]) -> list[Result]:
        return [
            Result(builder.name, version_of(builder.argv[0]), builder.argv, seconds[builder.name])
            for builder in self._builders
        ]


@contextmanager
def _scratch() -> Iterator[Path]:
    """Mount a tmpfs where only this process sees it, for stores and contexts."""
    from lamina.linux import mount, namespaces

    namespaces.unshare_mounts()
    mount.mount("", "/", "", mount.MS_REC | mount.MS_PRIVATE)
    if os.path.ismount("/sys/fs/cgroup/unified"):  # crun refuses a machine with both cgroup trees
        mount.umount2("/sys/fs/cgroup/unified", mount.MNT_DETACH)
    with tempfile.TemporaryDirectory() as directory:
        mount.mount("bench", directory, "tmpfs", 0, "mode=700")
        try:
            yield Path(directory)
        finally:
            mount.umount2(directory, mount.MNT_DETACH)


def _prepare(top: Path, env: dict[str, str]) -> list[_Builder]:
    """Give every program the same base image: one static program."""
    lamina = str(Path(sys.executable).with_name("lamina"))
    busybox = shutil.which("busybox")
    if busybox is None:
        raise SystemExit("busybox is not installed (Debian: busybox-static): it is the base image")
    rootfs = top / "rootfs"
    (rootfs / "bin").mkdir(parents=True)
    for name in ("busybox", "sh", "echo"):
        shutil.copy(busybox, rootfs / "bin" / name)
    subprocess.run([lamina, "import", str(rootfs), "base:1"], check=True, env=env, capture_output=True)
    subprocess.run(["tar", "-C", str(rootfs), "-cf", str(top / "base.tar"), "."], check=True)
    found = [_Builder("lamina", [lamina, "build", "--progress", "quiet", "-t", "built:1"], env)]
    (top / "base").write_text("FROM scratch\nADD base.tar /\n")
    for name, words in (("buildah", ["bud", "--layers"]), ("podman", ["build"])):
        if program := shutil.which(name):
            # A store each, or one would find in the cache what the other has built.
            own = ["--root", f"{top}/{name}", "--runroot", f"{top}/{name}-run", "--storage-driver", "overlay"]
            build = [program, *own, *words, "--network", "host", "-t"]
            base = [*build, "base:1", "-f", f"{top}/base", str(top)]
            subprocess.run(base, check=True, env=env, capture_output=True)
            found.append(_Builder(name, [*build, "built:1"], env))
    return found


def _docker(top: Path, env: dict[str, str] | None) -> list[_Builder]:
    """Give docker the base image; its builders are those that this client has."""
    if env is None:
        return []
    subprocess.run(["docker", "import", f"{top}/base.tar", "base:1"], check=True, env=env, capture_output=True)
    kinds = {"docker-classic": "0"}
    if not subprocess.run(["docker", "buildx", "version"], env=env, capture_output=True, check=False).returncode:
        kinds["docker-buildkit"] = "1"
    argv = ["docker", "build", "--network", "host", "-t", "built:1"]
    return [_Builder(name, argv, {**env, "DOCKER_BUILDKIT": value}) for name, value in kinds.items()]


def _many_files(top: Path) -> Path:
    return _fill(top, _write_many)


def _large_file(top: Path) -> Path:
    return _fill(top, _write_large)


def _fill(top: Path, write: Callable[[Path], None]) -> Path:
    top.mkdir()
    write(top)
    return top


def _write_many(top: Path) -> None:
    for number in range(_FILES):
        directory = top / f"d{number // 100}"
        if number % 100 == 0:
            directory.mkdir()
        (directory / f"f{number}").write_text(f"{number}\n" * 20)


def _write_large(top: Path) -> None:
    piece = os.urandom(1 << 20)
    with open(top / "file", "wb") as file:
        for _ in range(_LARGE >> 20):
            file.write(piece)
