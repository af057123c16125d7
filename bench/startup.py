"""From the command line to the end of `true` in a container that is removed: lamina, podman, bubblewrap.

All use the machine's network, and a root file system of one static program, so that what is measured is the start.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.measure import Program, Result, take_turns, version_of

_ROUNDS = 20


def measure() -> list[Result]:
    """Time the programs that are installed; lamina comes first."""
    lamina = str(Path(sys.executable).with_name("lamina"))
    busybox = shutil.which("busybox")
    if busybox is None:
        raise SystemExit(
            "busybox is not installed (Debian: busybox-static): its static program is the container's file system"
        )
    with tempfile.TemporaryDirectory() as scratch:
        rootfs = Path(scratch, "rootfs")
        (rootfs / "bin").mkdir(parents=True)
        shutil.copy(busybox, rootfs / "bin" / "true")
        env = {**os.environ, "LAMINA_ROOT": f"{scratch}/store"}
        subprocess.run([lamina, "import", str(rootfs), "tiny:1"], check=True, env=env, capture_output=True)
        programs = [Program("lamina", [lamina, "run", "--rm", "tiny:1", "/bin/true"], version_of(lamina))]
        programs += _peers(rootfs)
        results = take_turns(programs, rounds=_ROUNDS, env=env)
        for words in (["rmi", "--all", "--force"], ["prune", "--force"]):
            subprocess.run([lamina, *words], check=True, env=env, capture_output=True)
    return results


def _peers(rootfs: Path) -> list[Program]:
    """Return the other programs, each starting the same file system in namespaces of its own."""
    found = []
    if podman := shutil.which("podman"):
        words = ["run", "--rm", "--network=host", "--cgroups=disabled", "--log-driver=none", "--rootfs", f"{rootfs}:O"]
        found.append(Program("podman", [podman, *words, "/bin/true"], version_of(podman)))
    if bwrap := shutil.which("bwrap"):
        words = ["--bind", str(rootfs), "/", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--proc", "/proc"]
        found.append(Program("bubblewrap", [bwrap, *words, "/bin/true"], version_of(bwrap)))
    return found
