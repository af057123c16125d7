"""`lamina build --output`: files, archives, streams and registries, over a base that runs nothing."""

from __future__ import annotations

import io
import json
import os
import stat
import tarfile
from pathlib import Path

import pytest

from tests.helpers.command import Done, Lamina, program, run
from tests.helpers.images import rootfs_archive
from tests.helpers.registries import docker_registry

_FILE = """\
FROM base:1
COPY --chown=7:8 file /srv/file
COPY --chmod=0500 file /srv/deep/er/program
"""


@pytest.fixture
def context(lamina: Lamina, scratch: Path) -> Path:
    lamina("import", rootfs_archive(scratch / "rootfs.tar"), "base:1")
    (scratch / "context").mkdir()
    (scratch / "context/file").write_text("content\n")
    (scratch / "context/Dockerfile").write_text(_FILE)
    return scratch / "context"


def build(lamina: Lamina, context: Path, *words: str | Path, status: int = 0) -> Done:
    return lamina("build", *words, context, status=status)


def test_a_directory_gets_the_tree_and_belongs_to_the_caller(lamina: Lamina, context: Path, scratch: Path) -> None:
    target = scratch / "out"
    (target / "srv/kept").mkdir(parents=True)
    (target / "srv/file").write_text("old")
    build(lamina, context, "-o", target)
    assert (target / "srv/file").read_text() == "content\n"
    assert (target / "etc/layer1").read_text().startswith("layer 1")
    assert sorted(os.listdir(target)) == ["etc", "srv"]
    assert (target / "srv/kept").is_dir()
    for path in target.rglob("*"):
        assert (path.stat().st_uid, path.stat().st_gid) == (os.geteuid(), os.getegid())
    assert stat.S_IMODE((target / "srv/deep/er/program").stat().st_mode) == 0o500


def test_a_directory_in_the_way_of_a_file_leaves_the_target_alone(lamina: Lamina, context: Path, scratch: Path) -> None:
    (scratch / "out/srv/file/inside").mkdir(parents=True)
    done = build(lamina, context, "-o", scratch / "out", status=125)
    assert "directory is in the way" in done.stderr and "Traceback" not in done.stderr
    assert [path.name for path in (scratch / "out").rglob("*")] == ["srv", "file", "inside"]


@pytest.mark.parametrize("form", ["-", "type=tar", "type=tar,dest=-"])
def test_standard_output_gets_a_tar_of_the_tree(lamina: Lamina, context: Path, form: str) -> None:
    (context / "Dockerfile").write_text(_FILE)
    done = run(
        ["sh", "-c", 'exec "$@" >out.tar', "sh", *_words("build", "-o", form, ".")],
        env=lamina.environment(), cwd=context,
    )  # fmt: skip
    assert done.stdout == ""
    with tarfile.open(context / "out.tar") as tree:
        names = tree.getnames()
        assert (tree.getmember("srv/file").uid, tree.getmember("srv/file").gid) in ((7, 8), (0, 0))
        assert (tree.extractfile("srv/file") or io.BytesIO()).read() == b"content\n"
    assert "etc/layer1" in names and not [name for name in names if ".wh." in name]


def _words(*words: str) -> list[str]:
    return [*program(), *words]


def test_several_outputs_and_what_the_metadata_says(lamina: Lamina, context: Path, scratch: Path) -> None:
    metadata, iid = scratch / "metadata", scratch / "iid"
    build(
        lamina, context, "-t", "built:1", "--annotation", "a.b=c", "--metadata-file", metadata, "--iidfile", iid,
        "-o", f"type=oci,dest={scratch}/oci.tar", "-o", f"type=docker,dest={scratch}/docker.tar,name=other:2",
        "-o", f"type=oci,tar=false,dest={scratch}/layout,compression=zstd", "-o", "type=image,name=named:3",
    )  # fmt: skip
    said = json.loads(metadata.read_text())
    image = iid.read_text()
    assert said["containerimage.config.digest"] == image
    assert said["image.name"] == "docker.io/library/built:1,docker.io/library/named:3"
    assert said["containerimage.descriptor"]["digest"] == said["containerimage.digest"]
    layout = json.loads((scratch / "layout/index.json").read_text())
    assert layout["manifests"][0]["digest"] == said["containerimage.digest"]
    manifest = json.loads((scratch / "layout/blobs" / said["containerimage.digest"].replace(":", "/")).read_text())
    assert manifest["annotations"] == {"a.b": "c"}
    assert all(layer["mediaType"].endswith("+zstd") for layer in manifest["layers"])
    with tarfile.open(scratch / "docker.tar") as archive:
        entry = json.load(archive.extractfile("manifest.json") or io.BytesIO())
    assert entry[0]["RepoTags"] == ["other:2"]
    for name in ("built:1", "named:3"):
        assert json.loads(lamina("inspect", name).stdout)[0]["Id"] == image
    lamina("rmi", "built:1", "named:3")
    lamina("load", "-i", scratch / "oci.tar")
    assert json.loads(lamina("inspect", "built:1").stdout)[0]["Id"] == image


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        ("type=tar,dest=nowhere/x.tar", "no such directory"),
        ("type=oci,dest=context", "is a directory"),
        ("type=local,dest=rootfs.tar", "no directory"),
        ("type=oci,dest=a.tar,push=true", "has no push"),
        ("type=registry", "nothing says where to"),
    ],
)
def test_what_cannot_be_written_is_said(lamina: Lamina, context: Path, scratch: Path, output: str, reason: str) -> None:
    before = sorted(os.listdir(scratch))
    done = lamina("build", "-o", output, context, cwd=scratch, status=None)
    assert done.status in (2, 125)
    assert reason in done.stderr and "Traceback" not in done.stderr
    assert set(os.listdir(scratch)) - {*before, "store"} == set()


def test_an_archive_appears_when_it_is_whole(lamina: Lamina, context: Path, scratch: Path) -> None:
    (scratch / "out.tar").write_text("old")
    (context / "Dockerfile").write_text("FROM base:1\nCOPY nowhere /\n")
    build(lamina, context, "-o", f"type=oci,dest={scratch}/out.tar", status=125)
    assert (scratch / "out.tar").read_text() == "old"


@pytest.mark.requires("docker-registry")
def test_an_image_is_pushed_and_pulled_as_a_base(lamina: Lamina, context: Path, scratch: Path) -> None:
    with docker_registry(scratch / "registry") as registry:
        name = f"{registry.host}/pushed:1"
        build(lamina, context, "-t", name, "--push", "--metadata-file", scratch / "metadata")
        digest = json.loads((scratch / "metadata").read_text())["containerimage.digest"]
        assert lamina("tags", f"{registry.host}/pushed").lines() == ["1"]
        lamina("rmi", name)
        lamina("prune", "--force")
        (context / "Dockerfile").write_text(f"FROM {registry.host}/pushed@{digest}\nCOPY file /second\n")
        refused = build(lamina, context, "--pull=never", status=125)
        assert "Dockerfile:1" in refused.stderr and "has no image" in refused.stderr
        build(lamina, context, "-t", "second:1")
        assert len(json.loads(lamina("inspect", "second:1").stdout)[0]["RootFS"]["Layers"]) == 4
        (context / "Dockerfile").write_text(f"FROM {name}\n")
        manifests = len(registry.requests("GET"))
        for words, asks in (((), True), ((), False), (("--pull",), True), (("--pull=always",), True)):
            build(lamina, context, *words)
            asked = len(registry.requests("GET"))
            assert (asked > manifests) == asks, words
            manifests = asked
