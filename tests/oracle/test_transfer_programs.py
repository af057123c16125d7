"""What is saved here is taken by skopeo, podman and umoci, and what skopeo makes of it is taken here.

What these and buildah make themselves is in test_transfer_makers.py.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.helpers.command import Lamina
from tests.helpers.images import facts, layer_bytes
from tests.helpers.layers import look
from tests.helpers.layouts import Made
from tests.helpers.registries import docker_registry

# Without a runtime directory of its own skopeo looks for passwords in root's.
_QUIET = {**os.environ, "XDG_RUNTIME_DIR": os.environ.get("TMPDIR", "/tmp")}


def _do(*words: str | os.PathLike[str], cwd: Path) -> str:
    done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, check=False, env=_QUIET)
    assert done.returncode == 0, f"{' '.join(map(str, words))}: {done.stderr}"
    return done.stdout


@pytest.fixture
def image(lamina: Lamina, scratch: Path) -> str:
    """Return an image of three layers, of which the second hides a file of the first."""
    made = Made()
    tars = (layer_bytes(1), layer_bytes(2, whiteout=True), layer_bytes(3))
    made.list(made.image(*tars, zipped=False), "docker.io/team/image:1")
    lamina("load", "-i", made.write(scratch / "layout"))
    return "team/image:1"


@pytest.mark.requires("skopeo")
@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
@pytest.mark.parametrize("form", ["oci-archive", "docker-archive", "oci-dir"])
def test_skopeo_takes_what_is_saved(lamina: Lamina, image: str, scratch: Path, *, form: str, compression: str) -> None:
    if (form, compression) == ("docker-archive", "zstd"):
        compression = "gzip"  # skopeo reads no zstd in docker's archives
    lamina("save", "--format", form, "--compression", compression, "-o", "saved", image)
    source = {"oci-dir": "oci:saved"}.get(form, f"{form}:saved")
    _do("skopeo", "copy", "--quiet", source, "oci:copied:x", cwd=scratch)
    config = json.loads(_do("skopeo", "inspect", "--config", "--raw", "oci:copied:x", cwd=scratch))
    assert config["rootfs"]["diff_ids"] == facts(lamina, image)[1]


@pytest.mark.requires("skopeo")
@pytest.mark.parametrize(
    "target",
    [
        ("oci:made:x/y:1",),
        ("oci-archive:made:x/y:1",),
        ("docker-archive:made:x/y:1",),
        ("--dest-compress-format=zstd", "--dest-compress", "oci:made:x/y:1"),
        ("--dest-compress-format=gzip", "--dest-compress", "--format=v2s2", "oci-archive:made:x/y:1"),
    ],
    ids=["oci", "oci-archive", "docker-archive", "zstd", "v2s2"],
)
def test_what_skopeo_makes_is_taken(
    lamina: Lamina, other: Lamina, image: str, scratch: Path, target: tuple[str, ...]
) -> None:
    if "--format=v2s2" in target:
        target = tuple(word for word in target if word != "--format=v2s2")
    lamina("save", "--format", "oci-dir", "-o", "saved", image)
    _do("skopeo", "copy", "--quiet", "oci:saved", *target, cwd=scratch)
    assert other("load", "-i", "made").lines() == ["Loaded image: x/y:1"]
    assert facts(other, "x/y:1") == facts(lamina, image)


@pytest.mark.requires("skopeo", "docker-registry")
def test_skopeo_and_we_meet_at_a_registry(lamina: Lamina, other: Lamina, image: str, scratch: Path) -> None:
    with docker_registry(scratch / "registry") as registry:
        lamina("push", image, f"{registry.host}/a/b:1")
        there, back = f"docker://{registry.host}/a/b:1", f"docker://{registry.host}/a/c:1"
        _do("skopeo", "copy", "--quiet", "--src-tls-verify=false", there, "oci:dir:x", cwd=scratch)
        _do("skopeo", "copy", "--quiet", "--dest-tls-verify=false", "oci:dir:x", back, cwd=scratch)
        other("pull", f"{registry.host}/a/c:1")
        assert facts(other, f"{registry.host}/a/c:1") == facts(lamina, image)


@pytest.mark.requires("umoci", "root")
def test_umoci_unpacks_the_tree_that_is_exported(lamina: Lamina, image: str, scratch: Path) -> None:
    lamina("copy", image, "oci:saved:x")
    _do("umoci", "unpack", "--image", "saved:x", "bundle", cwd=scratch)
    lamina("run", "--name", "kept", image, "none", status=127)
    lamina("export", "-o", "flat.tar", "kept")
    (scratch / "flat").mkdir()
    _do("tar", "--xattrs", "-xpf", "flat.tar", "-C", "flat", cwd=scratch)
    theirs, ours = look(scratch / "bundle" / "rootfs"), look(scratch / "flat")
    assert theirs.keys() >= {b"/etc/layer2", b"/etc/layer3"} and b"/etc/layer1" not in theirs
    for name in theirs.keys() - {b"", b"/etc"}:  # what the run touched
        assert ours[name] == theirs[name]
    assert b"/etc/layer1" not in ours


@pytest.mark.requires("podman", "root")
@pytest.mark.parametrize("form", ["oci-archive", "docker-archive"])
def test_podman_and_we_trade(lamina: Lamina, other: Lamina, image: str, scratch: Path, form: str) -> None:
    short = tempfile.mkdtemp(prefix="r")  # podman takes 50 characters at most
    podman = ["podman", "--root", str(scratch / "pod"), "--runroot", short, "--storage-driver", "vfs"]
    lamina("save", "--format", form, "-o", "saved", image)
    assert "team/image:1" in _do(*podman, "load", "-q", "-i", "saved", cwd=scratch)
    (found,) = _do(*podman, "images", "-q", "--no-trunc", cwd=scratch).split()
    assert found == facts(lamina, image)[0]
    _do(*podman, "save", "-q", "--format", form, "-o", "back", found, cwd=scratch)
    other("load", "-i", "back")
    _do(*podman, "rmi", "--all", cwd=scratch)
    shutil.rmtree(short)
    (said,) = json.loads(other("inspect", found).stdout)
    assert said["RootFS"]["Layers"] == facts(lamina, image)[1]
