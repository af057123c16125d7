"""load and save on the command line: what goes out comes in again, and what is no archive of images is refused."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import tarfile
from io import BytesIO
from pathlib import Path

import pytest

from tests.helpers.command import Lamina
from tests.helpers.images import add, facts, layer_bytes, rootfs_archive
from tests.helpers.layouts import INDEX, Made
from tests.helpers.registries import own_registry


@pytest.fixture
def images(lamina: Lamina, scratch: Path) -> list[str]:
    """Return the names of two images in the store."""
    for number in (1, 2):
        archive = rootfs_archive(scratch / f"rootfs{number}.tar", number)
        lamina("import", "--change", f"ENV N={number}", archive, f"team/image:{number}")
    return ["team/image:1", "team/image:2"]


@pytest.mark.parametrize("form", ["oci-archive", "docker-archive", "oci-dir"])
@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
def test_what_is_saved_is_loaded(
    lamina: Lamina, other: Lamina, images: list[str], *, form: str, compression: str
) -> None:
    out = lamina.cwd / "saved"
    lamina("save", "--format", form, "--compression", compression, "-o", out, *images)
    done = other("load", "-i", out)
    assert done.lines() == [f"Loaded image: {name}" for name in images]
    for name in images:
        assert facts(other, name) == facts(lamina, name)
    # What came compressed goes out again byte for byte, whatever is asked for.
    again = lamina.cwd / "again"
    other("save", "--format", form, "-o", again, *images)
    assert _blobs(again, form) == _blobs(out, form)
    other.empty_store()


def _blobs(path: Path, form: str) -> set[str]:
    if form == "oci-dir":
        return {blob.name for blob in (path / "blobs" / "sha256").iterdir()}
    listed = subprocess.run(["tar", "tf", path], capture_output=True, text=True, check=True).stdout
    return set(listed.split())


def test_saving_twice_gives_the_same_bytes(lamina: Lamina, images: list[str], scratch: Path) -> None:
    for name in ("a", "b"):
        lamina("save", "--compression", "gzip", "-o", scratch / name, *images)
    assert (scratch / "a").read_bytes() == (scratch / "b").read_bytes()


@pytest.mark.parametrize("program", ["gzip", "zstd", "xz", "cat"])
def test_an_archive_may_be_compressed_and_come_through_a_pipe(
    lamina: Lamina, other: Lamina, images: list[str], scratch: Path, program: str
) -> None:
    saved = subprocess.run([program], input=_save(lamina, images[0]), capture_output=True, check=True).stdout
    assert other("load", input=saved).lines() == ["Loaded image: team/image:1"]
    assert facts(other, images[0]) == facts(lamina, images[0])
    other.empty_store()


def _save(lamina: Lamina, name: str) -> bytes:
    lamina("save", "-o", lamina.cwd / "piped", name)
    return (lamina.cwd / "piped").read_bytes()


def test_the_platform_of_an_index_is_chosen(lamina: Lamina, scratch: Path) -> None:
    made = Made()
    entries = []
    for number, architecture in enumerate(("amd64", "arm64", "s390x"), 1):
        image = made.image(layer_bytes(number), architecture=architecture)
        entries.append({**image, "platform": {"os": "linux", "architecture": architecture}})
    made.list(made.document({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}, INDEX), "docker.io/a/b:1")
    layout = made.write(scratch / "layout")
    lamina("load", "--platform", "linux/s390x", "-i", layout)
    (said,) = json.loads(lamina("inspect", "a/b:1").stdout)
    assert said["Architecture"] == "s390x"
    done = lamina("load", "--platform", "linux/riscv64", "-i", layout, status=125)
    assert "linux/amd64, linux/arm64, linux/s390x" in done.stderr and "--platform" in done.stderr


def test_whiteouts_act_on_what_lies_below_though_layers_come_side_by_side(lamina: Lamina, scratch: Path) -> None:
    made = Made()
    made.list(made.image(layer_bytes(1), layer_bytes(2, whiteout=True), layer_bytes(3)), "docker.io/a/b:1")
    lamina("load", "-i", made.write(scratch / "layout"))
    (said,) = json.loads(lamina("inspect", "a/b:1").stdout)
    base, second, _ = (Path(layer["Directory"]) for layer in said["Layers"])
    assert (base / "etc" / "layer1").exists()
    assert "layer1" in {entry.name for entry in (second / "etc").iterdir()}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is empty"),
        (b"not a tar at all", "no tar archive"),
        (b"x" * 2048, "not a tar archive"),
        (layer_bytes(1), "it holds no images"),
        (layer_bytes(1)[:700], "truncated"),
    ],
    ids=["empty", "short", "long", "rootfs", "truncated"],
)
def test_rubbish_is_refused_in_one_line(lamina: Lamina, scratch: Path, content: bytes, reason: str) -> None:
    (scratch / "junk").write_bytes(content)
    done = lamina("load", "-i", scratch / "junk", status=125)
    first, *rest = done.stderr.splitlines()
    assert first.startswith("lamina: cannot load") and reason in first and len(rest) <= 1
    assert lamina("images", "-q").stdout == ""


def test_what_does_not_exist_is_named(lamina: Lamina, scratch: Path) -> None:
    assert "no such file" in lamina("load", "-i", scratch / "missing", status=125).stderr
    assert "has no image" in lamina("save", "-o", scratch / "out", "missing:1", status=125).stderr
    assert not (scratch / "out").exists()


def test_the_machine_itself_is_not_saved(lamina: Lamina, scratch: Path) -> None:
    done = lamina("save", "-o", scratch / "out", "host", status=125)
    assert "this machine's own root" in done.stderr and not (scratch / "out").exists()


@pytest.mark.parametrize("spoilt", ["layer", "config", "manifest"])
def test_a_wrong_digest_leaves_nothing_behind(lamina: Lamina, scratch: Path, spoilt: str) -> None:
    made = Made()
    image = made.image(layer_bytes(1))
    made.list(image, "docker.io/a/b:1")
    manifest = json.loads(made.blobs[image["digest"]])
    victim = {"layer": manifest["layers"][0], "config": manifest["config"], "manifest": image}[spoilt]["digest"]
    data = bytearray(made.blobs[victim])
    data[len(data) // 2] ^= 1
    made.blobs[victim] = bytes(data)
    lamina("load", "-i", made.write(scratch / "layout"), status=125)
    assert not list((lamina.store / "layers").iterdir()) and not list((lamina.store / "blobs" / "sha256").iterdir())
    assert not list((lamina.store / "staging").iterdir()) and not list((lamina.store / "images").iterdir())


def test_progress_comes_as_json(lamina: Lamina, scratch: Path) -> None:
    made = Made()
    made.list(made.image(layer_bytes(1), layer_bytes(2)), "docker.io/a/b:1")
    done = lamina("load", "--progress", "rawjson", "-i", made.write(scratch / "layout"))
    events = [json.loads(line) for line in done.stderr.splitlines()]
    assert {tuple(sorted(event)) for event in events} == {
        ("Done", "Finished", "Subject", "Task", "Text", "Total"),
    }
    finished = [event for event in events if event["Finished"]]
    assert len(finished) == 2 and all(event["Task"] == "load" and event["Done"] == event["Total"] for event in finished)


def _old_archive(path: Path, *, compressed: bool = False, loop: bool = False, repositories: bool = True) -> Path:
    """Write an archive as docker wrote it before 1.10: two layers, the second named twice."""
    data = BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        for number, layer in ((1, "a" * 64), (2, "b" * 64)):
            said = {
                "id": layer,
                "created": f"2014-01-0{number}T00:00:00Z",
                "container_config": {"Cmd": ["/bin/sh", "-c", f"step {number}"]},
                "config": {"Env": [f"N={number}"], "Cmd": ["sh"]},
                "architecture": "amd64",
                "os": "linux",
                "Size": 1,
            }
            if number == 2 or loop:
                said["parent"] = "a" * 64 if number == 2 else "b" * 64
            content = layer_bytes(number, whiteout=number == 2)
            add(tar, layer, None)
            add(tar, f"{layer}/VERSION", b"1.0")
            add(tar, f"{layer}/json", json.dumps(said).encode())
            add(tar, f"{layer}/layer.tar", gzip.compress(content) if compressed else content)
        if repositories:
            add(tar, "repositories", json.dumps({"old/image": {"1": "b" * 64, "latest": "b" * 64}}).encode())
    path.write_bytes(data.getvalue())
    return path


@pytest.mark.parametrize("compressed", [False, True])
def test_an_archive_from_before_docker_1_10_is_taken(lamina: Lamina, scratch: Path, *, compressed: bool) -> None:
    done = lamina("load", "-i", _old_archive(scratch / "old.tar", compressed=compressed))
    assert set(done.lines()) == {"Loaded image: old/image:1", "Loaded image: old/image:latest"}
    (said,) = json.loads(lamina("inspect", "old/image:1").stdout)
    assert said["Config"]["Env"] == ["N=2"] and len(said["RootFS"]["Layers"]) == 2
    steps = json.loads(lamina("history", "--format", "json", "old/image:1").stdout)
    assert [step["CreatedBy"] for step in steps] == ["/bin/sh -c step 2", "/bin/sh -c step 1"]
    lamina("save", "-o", scratch / "new.tar", "old/image:1")
    lamina("load", "-i", scratch / "new.tar")
    assert lamina("store", "check").stdout == ""


def test_an_old_archive_may_name_nothing_and_must_end(lamina: Lamina, scratch: Path) -> None:
    done = lamina("load", "-i", _old_archive(scratch / "bare.tar", repositories=False))
    assert done.stdout.startswith("Loaded image ID: sha256:") and len(done.lines()) == 1
    assert "do not end" in lamina("load", "-i", _old_archive(scratch / "loop.tar", loop=True), status=125).stderr


@pytest.mark.parametrize("kind", ["pipe", "endless"])
def test_a_layout_of_other_things_than_files(lamina: Lamina, scratch: Path, kind: str) -> None:
    """Nothing waits for a pipe's writer, and nothing reads /dev/zero to its end."""
    made = Made()
    made.list(made.image(layer_bytes(1)), "one:1")
    layout = made.write(scratch / "layout")
    for path in [path for path in layout.rglob("*") if path.is_file()]:
        content = path.read_bytes()
        path.unlink()
        if kind == "pipe":
            os.mkfifo(path)
        else:
            path.symlink_to("/dev/zero")
        done = lamina("load", "-i", layout, status=125, seconds=60)
        assert done.stderr == f"lamina: cannot read {path}: it is not a regular file\n"
        path.unlink()
        path.write_bytes(content)
    lamina("load", "-i", layout)


@pytest.mark.parametrize("packed", [True, False])
def test_what_is_larger_unpacked_than_was_allowed_is_refused(lamina: Lamina, scratch: Path, *, packed: bool) -> None:
    made = Made()
    made.list(made.image(layer_bytes(1), layer_bytes(2), zipped=packed), "docker.io/team/image:1")
    layout = made.write(scratch / "layout")
    most = ("--max-unpacked-size", "8k")
    refused = lamina("load", *most, "-i", layout, status=125).stderr
    assert refused.startswith("lamina: cannot unpack the ") and "more than 8192" in refused
    assert lamina("images", "-q").stdout == "" and not list((lamina.store / "staging").iterdir())
    with own_registry(made, {"1": made.listed[0]["digest"]}) as (host, _):
        assert "more than 8192" in lamina("pull", *most, f"{host}/a/b:1", status=125).stderr
        assert lamina("images", "-q").stdout == ""
        lamina("pull", "--max-unpacked-size", "40k", f"{host}/a/b:1")
    lamina("load", "--max-unpacked-size", "1M", "-i", layout)
    wrong = lamina("load", "--max-unpacked-size", "many", "-i", layout, status=2).stderr
    assert "--max-unpacked-size" in wrong
