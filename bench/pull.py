"""Pulling an image of ten gzip layers (1 GB unpacked) until it could be run: lamina, podman, docker, skopeo with umoci.

As root: python -m bench pull. The registry is a docker-registry on loopback, and every store is empty before. All is on
a fresh ext4.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import ExitStack

from bench import peers
from bench.images import make_layout
from bench.measure import OURS, Comparison, version_of
from bench.turns import LAMINA, Peer, compare
from bench.unions import disk
from tests.helpers.registries import docker_registry

_ROUNDS = 3
_AIMS = {"podman": 0.4, "skopeo, umoci": 0.4}


def measure(files: int = 20_000, megabytes: int = 1000) -> list[Comparison]:
    """Time the programs that are installed."""
    with disk() as top, ExitStack() as stack:
        make_layout(top / "layout", layers=10, files=files, size=megabytes << 20, zipped=True)
        registry = stack.enter_context(docker_registry(top / "registry"))
        name = f"{registry.host}/bench/image:1"
        copy = f"{LAMINA} copy oci:{top}/layout docker://{name}"
        subprocess.run(["sh", "-c", copy], check=True, env={**os.environ, "LAMINA_ROOT": f"{top}/store"})
        programs = [Peer(OURS, f"LAMINA_ROOT={{0}}/store {LAMINA} pull -q {name}")]
        if env := stack.enter_context(peers.podman(top)):
            pull = f"podman --root {{0}}/root --runroot {{0}}/run pull -q --tls-verify=false {name}"
            programs.append(Peer("podman", pull, version_of("podman"), env))
        if env := stack.enter_context(peers.docker(top)):
            remove = "docker image rm -f $(docker image ls -q)"
            programs.append(Peer("docker", f"docker pull -q {name}", version_of("docker"), env, remove))
        if shutil.which("skopeo") and shutil.which("umoci"):
            skopeo = f"skopeo copy -q --src-tls-verify=false docker://{name} oci:{{0}}/layout:x"
            unpack = "umoci unpack --image {0}/layout:x {0}/bundle"
            version = f"{version_of('skopeo')}, {version_of('umoci')}"
            programs.append(Peer("skopeo, umoci", f"{skopeo} && {unpack}", version))
        return compare(f"pull of ten layers, {megabytes} MB", programs, top, rounds=_ROUNDS, aims=_AIMS)
