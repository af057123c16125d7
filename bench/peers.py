"""Other programs, made ready to be measured: dockerd and podman, each with directories of its own.

Both want a machine that is theirs; here each gets a mount namespace without the empty v2 tree of a hybrid cgroup
hierarchy, which crun refuses, and no network of its own. Call below `unshare --mount --propagation private`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.measure import left_out

_HYBRID = "/sys/fs/cgroup/unified"
_START_SECONDS = 30


@contextmanager
def docker(scratch: Path) -> Iterator[dict[str, str] | None]:
    """Run dockerd with everything below `scratch`; yields variables for `docker`, or None where it is not installed."""
    if not shutil.which("dockerd") or os.geteuid() != 0:
        yield None
        return
    home = scratch / "docker"
    home.mkdir()
    socket = f"unix://{home}/socket"
    argv = [
        "dockerd", "--iptables=false", "--ip6tables=false", "--bridge=none", "--oom-score-adjust", "0",
        "--data-root", str(home / "data"), "--exec-root", str(home / "exec"), "--pidfile", str(home / "pid"),
        "--host", socket,
    ]  # fmt: skip
    env = {**os.environ, "DOCKER_HOST": socket}
    with (home / "log").open("wb") as log:
        daemon = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        yield env if _answers(daemon, env) else None
    finally:
        daemon.terminate()
        daemon.wait()


def _answers(daemon: subprocess.Popen[bytes], env: dict[str, str]) -> bool:
    """Wait until dockerd answers; where it does not, it is left out."""
    end = time.monotonic() + _START_SECONDS
    while subprocess.run(["docker", "version"], env=env, capture_output=True, check=False).returncode:
        if daemon.poll() is not None or time.monotonic() > end:
            left_out("docker", "dockerd does not start")
            return False
        time.sleep(0.1)
    return True


@contextmanager
def podman(scratch: Path) -> Iterator[dict[str, str] | None]:
    """Make podman and buildah ready; yields variables for both, or None where podman is not installed."""
    if not shutil.which("podman"):
        yield None
        return
    home = scratch / "podman"
    home.mkdir()
    text = '[containers]\ndefault_ulimits = []\n[engine]\ncgroup_manager = "cgroupfs"\nruntime = "crun"\n'
    (home / "containers.conf").write_text(text)
    driver = '[storage]\ndriver = "overlay"\n'
    roots = f'graphroot = "{home}/root"\nrunroot = "{home}/run"\n'
    (home / "storage.conf").write_text(driver + roots)
    if os.geteuid() == 0 and os.path.ismount(_HYBRID):
        subprocess.run(["umount", _HYBRID], check=True)
    env = {
        **os.environ,
        "CONTAINERS_CONF": str(home / "containers.conf"),
        "CONTAINERS_STORAGE_CONF": str(home / "storage.conf"),
    }
    if os.geteuid() != 0:  # it keeps a process in its namespaces there, which has to be one of these
        env["XDG_RUNTIME_DIR"] = str(home / "runtime")
        (home / "runtime").mkdir(mode=0o700)
    try:
        yield env
    finally:
        if os.geteuid() != 0:  # which ends that process
            subprocess.run(["podman", "system", "migrate"], env=env, capture_output=True, check=False)
