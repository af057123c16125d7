"""Loading an image of one uncompressed layer (50,000 files, 600 MB): lamina, podman, docker, and GNU tar of the layer.

As root: python -m bench load. Every store is empty before; GNU tar unpacks the same layer while sha256sum hashes it on
another processor. All is on a fresh ext4.
"""

from __future__ import annotations

import json
import subprocess
from contextlib import ExitStack
from pathlib import Path

from bench import peers
from bench.images import make_layout
from bench.measure import OURS, Comparison, version_of
from bench.turns import LAMINA, Peer, compare
from bench.unions import disk

_ROUNDS = 3
_AIMS = {"podman": 0.35, "docker": 0.35, "GNU tar, sha256sum": 1.3}


def measure(files: int = 50_000, megabytes: int = 600) -> list[Comparison]:
    """Time the programs that are installed."""
    with disk() as top, ExitStack() as stack:
        make_layout(top / "layout", layers=1, files=files, size=megabytes << 20, zipped=False)
        layer = _for_docker(top / "layout")
        archive = top / "image.tar"
        subprocess.run(["tar", "-C", str(top / "layout"), "-cf", str(archive), "."], check=True)
        programs = [
            Peer(OURS, f"LAMINA_ROOT={{0}}/store {LAMINA} load -i {archive}"),
            Peer("GNU tar, sha256sum", f"sha256sum {layer} & tar -C {{0}} -xpf {layer}; wait $!", version_of("tar")),
        ]
        if env := stack.enter_context(peers.podman(top)):
            load = f"podman --root {{0}}/root --runroot {{0}}/run load -q -i {archive}"
            programs.append(Peer("podman", load, version_of("podman"), env))
        if env := stack.enter_context(peers.docker(top)):
            # The daemon's store is its own: the image is taken out of it again, and its layers go with it.
            remove = "docker image rm -f $(docker image ls -q)"
            programs.append(Peer("docker", f"docker load -q -i {archive}", version_of("docker"), env, remove))
        return compare(f"load of {files} files, {megabytes} MB", programs, top, rounds=_ROUNDS, aims=_AIMS)


def _for_docker(layout: Path) -> Path:
    """Add to the layout what docker's archives have, so that all take the same archive; return the layer's path."""
    blobs = layout / "blobs" / "sha256"
    (entry,) = json.loads((layout / "index.json").read_text())["manifests"]
    manifest = json.loads((blobs / entry["digest"].removeprefix("sha256:")).read_text())
    config, layer = (
        f"blobs/sha256/{each['digest'].removeprefix('sha256:')}" for each in (manifest["config"], *manifest["layers"])
    )
    document = [{"Config": config, "RepoTags": ["bench/image:1"], "Layers": [layer]}]
    (layout / "manifest.json").write_text(json.dumps(document))
    return layout / layer
