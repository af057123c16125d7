"""How fast an image is pulled, beside podman and skopeo with umoci: python bench/pull.py [SCRATCH [MEGABYTES]]

An image of ten gzip layers (1 GB unpacked) is copied to a docker-registry on loopback, and pulled into stores that are
empty until it could be run. Run as root in a mount namespace of its own. Prints the median of three runs each, in
turns, and the ratio to podman.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from bench.images import make_layout
from bench.turns import Peer, print_table, take_turns
from tests.helpers.registries import docker_registry

_LAMINA = f"{sys.executable} -m lamina"


def main(scratch: str, megabytes: int) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory(dir=scratch) as directory:
        top = Path(directory)
        make_layout(top / "layout", layers=10, files=20_000, size=megabytes << 20, zipped=True)
        with docker_registry(top / "registry") as registry:
            name = f"{registry.host}/bench/image:1"
            push = Peer("push", f"LAMINA_ROOT={{0}}/store {_LAMINA} copy oci:{top}/layout docker://{name}", "")
            take_turns([push], top, rounds=0)
            peers = [Peer("lamina", f"LAMINA_ROOT={{0}}/store {_LAMINA} pull -q {name}", "")]
            if shutil.which("podman"):
                podman = f"podman --root {{0}}/root --runroot {{0}}/run pull -q --tls-verify=false {name}"
                peers.append(Peer("podman", podman, "podman --version"))
            if shutil.which("skopeo") and shutil.which("umoci"):
                skopeo = f"skopeo copy -q --src-tls-verify=false docker://{name} oci:{{0}}/layout:x"
                umoci = "umoci unpack --image {0}/layout:x {0}/bundle"
                peers.append(Peer("skopeo, umoci", f"{skopeo} && {umoci}", "skopeo --version"))
            print_table(take_turns(peers, top, rounds=3), reference="podman")


if __name__ == "__main__":
    given = sys.argv[1:]
    main(given[0] if given else "/var/tmp", int(given[1]) if len(given) > 1 else 1000)
