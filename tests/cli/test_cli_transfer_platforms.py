"""Indexes of several platforms, and artifacts, in the store: taken in, shown, given away byte for byte, removed."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.command import Lamina
from tests.helpers.images import layer_bytes
from tests.helpers.layouts import CONFIG, INDEX, MANIFEST, Made
from tests.helpers.registries import docker_registry
from tests.helpers.stores import things

_PLATFORMS = ("amd64", "arm64", "s390x")


def _attestation(made: Made) -> dict[str, Any]:
    """Add what BuildKit puts beside images: a manifest that is no image and is for no platform."""
    statement = made.blob(b'{"_type": "statement"}', "application/vnd.in-toto+json")
    config = made.document({"architecture": "unknown", "os": "unknown", "rootfs": {"type": "layers"}}, CONFIG)
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [statement]}
    return made.document(manifest, MANIFEST, platform={"os": "unknown", "architecture": "unknown"})


def _indexed(*, name: str = "docker.io/a/b:1") -> tuple[Made, str]:
    """Return an index of three platforms, which share their first layer, and of an attestation; and its digest."""
    made = Made()
    entries = []
    for number, architecture in enumerate(_PLATFORMS, 2):
        image = made.image(layer_bytes(1), layer_bytes(number), architecture=architecture, zipped=number != 3)
        entries.append({**image, "platform": {"os": "linux", "architecture": architecture}})
    entries.append(_attestation(made))
    index = made.document(
        {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries, "annotations": {"x": "y"}}, INDEX
    )
    made.list(index, name)
    return made, str(index["digest"])


def _blobs(layout: Path) -> set[str]:
    return {f"sha256:{path.name}" for path in (layout / "blobs/sha256").iterdir()}


@pytest.fixture
def made(lamina: Lamina, scratch: Path) -> Made:
    """Return what was loaded into the store, all of it, as a/b:1."""
    made, _ = _indexed()
    done = lamina("load", "--all-platforms", "-i", made.write(scratch / "layout"))
    assert done.lines() == ["Loaded image: a/b:1"]
    return made


def test_an_index_is_shown_with_all_its_images(lamina: Lamina, made: Made) -> None:
    (said,) = json.loads(lamina("inspect", "a/b:1").stdout)
    assert said["Architecture"] == "amd64" and said["RepoTags"] == ["a/b:1"]
    (index,) = said["Indexes"]
    assert [image["Platform"] for image in index["Images"]] == [f"linux/{name}" for name in _PLATFORMS]
    (said,) = json.loads(lamina("inspect", "--platform", "linux/s390x", "a/b:1").stdout)
    assert said["Architecture"] == "s390x" and index["Images"][2]["Id"] == said["Id"]
    assert "linux/riscv64" in lamina("inspect", "--platform", "linux/riscv64", "a/b:1", status=125).stderr
    lines = lamina("images").lines()
    assert lines[0].split()[:3] == ["REPOSITORY", "TAG", "PLATFORM"] and len(lines) == 4
    # What this machine runs is run: there is no program in it, and looking for one says that it was found.
    lamina("run", "--rm", "a/b:1", "none", status=127)
    assert lamina("store", "check").stdout == ""


@pytest.mark.parametrize("form", ["oci-archive", "oci-dir"])
def test_an_index_is_saved_byte_for_byte(lamina: Lamina, other: Lamina, made: Made, scratch: Path, form: str) -> None:
    lamina("save", "--format", form, "-o", scratch / "saved", "a/b:1")
    lamina("copy", "--all-platforms", f"{form.replace('-dir', '')}:{scratch}/saved", f"oci:{scratch}/again:x")
    assert _blobs(scratch / "again") == made.blobs.keys()
    other("load", "--all-platforms", "-i", scratch / "saved")
    assert other("store", "check").stdout == ""
    other("copy", "--all-platforms", "a/b:1", f"oci:{scratch}/third:x")
    assert _blobs(scratch / "third") == made.blobs.keys()
    assert other("inspect", "a/b:1").stdout.count(MANIFEST) == lamina("inspect", "a/b:1").stdout.count(MANIFEST)


@pytest.mark.parametrize("words", [("--platform", "linux/arm64"), ("--format", "docker-archive")])
def test_one_image_of_an_index_is_saved(
    lamina: Lamina, other: Lamina, made: Made, scratch: Path, words: tuple[str, ...]
) -> None:
    lamina("save", *words, "-o", scratch / "one", "a/b:1")
    done = other("load", "-i", scratch / "one", "--platform", "linux/arm64")
    (image,) = json.loads(other("images", "--all", "--format", "json").stdout)
    assert image["Platform"] == ("linux/arm64" if "--platform" in words else "linux/amd64")
    assert done.stdout.startswith("Loaded image")


@pytest.mark.requires("docker-registry")
def test_an_index_is_pushed_and_pulled_whole(lamina: Lamina, other: Lamina, made: Made, scratch: Path) -> None:
    _, digest = _indexed()
    with docker_registry(scratch / "registry") as registry:
        remote = f"{registry.host}/a/b:1"
        assert lamina("push", "a/b:1", remote).lines() == [digest]
        other("pull", "--all-platforms", remote)
        first = len(registry.requests("GET"))
        other("pull", "--all-platforms", remote)
        got = {line for line in registry.requests("GET")[first:] if "/blobs/" in line}
        assert len(got) == 3  # the configs, which tell what the layers are
        assert len(json.loads(other("images", "--format", "json").stdout)) == 3
        other("copy", "--all-platforms", f"store:{remote}", f"oci:{scratch}/back:x")
        assert _blobs(scratch / "back") == made.blobs.keys()
        # One platform alone is an image of its own.
        one = lamina("push", "--platform", "linux/s390x", "a/b:1", f"{registry.host}/a/one:1").lines()
        assert one != [digest]
        assert other("pull", f"{registry.host}/a/one:1").lines() == [f"{registry.host}/a/one:1"]


def test_an_index_goes_as_one(lamina: Lamina, made: Made) -> None:
    lamina("tag", "a/b:1", "c:1")
    lamina("prune", "--force")
    assert lamina("rmi", "a/b:1").lines() == ["a/b:1"]
    (said,) = json.loads(lamina("inspect", "--platform", "linux/arm64", "c:1").stdout)
    refused = lamina("rmi", said["Id"], status=125)
    assert "part of the index c:1" in refused.stderr and "--force" in refused.stderr
    lamina("run", "--name", "box", "c:1", "none", status=127)
    assert "containers are made of it: box" in lamina("rmi", "c:1", status=125).stderr
    lamina("rm", "box")
    assert len(lamina("rmi", "c:1").lines()) == 5  # the name, the index, three images
    assert things(lamina.store) == set() and not list((lamina.store / "bundles").iterdir())


def test_an_image_with_a_name_of_its_own_outlives_its_index(lamina: Lamina, made: Made, scratch: Path) -> None:
    lamina("load", "--platform", "linux/arm64", "-i", scratch / "layout")  # the name is now that of one image
    assert len(lamina("images", "-q").lines()) == 1
    lamina("prune", "--force")
    assert len(lamina("images", "-q", "--all").lines()) == 1 and lamina("store", "check").stdout == ""


@pytest.mark.parametrize("damage", ["record", "child", "image"])
def test_a_damaged_index_is_found(lamina: Lamina, made: Made, scratch: Path, damage: str) -> None:
    (record,) = (lamina.store / "bundles").iterdir()
    if damage == "record":
        record.write_text("junk\n")
    elif damage == "child":
        statement = next(name for name, data in made.blobs.items() if b"statement" in data and b"schema" not in data)
        (lamina.store / "blobs/sha256" / statement.partition(":")[2]).unlink()
    else:
        next((lamina.store / "images").iterdir()).write_text("junk\n")
    lamina("store", "check", status=125)
    lamina("store", "check", "--repair", status=125 if damage == "child" else 0)
    lamina("load", "--all-platforms", "-i", scratch / "layout")
    assert lamina("store", "check").stdout == ""


def test_an_artifact_is_kept_as_it_is(lamina: Lamina, other: Lamina, scratch: Path) -> None:
    made = Made()
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": "application/x-model",
        "config": made.blob(b"{}", "application/vnd.oci.empty.v1+json"),
        "layers": [made.blob(gzip.compress(b"weights", mtime=0), "application/x-weights+gzip")],
    }
    made.list(made.document(manifest, MANIFEST), "docker.io/models/one:1")
    made.write(scratch / "layout")
    lamina("copy", f"oci:{scratch}/layout", "models/one:1")
    (said,) = json.loads(lamina("images", "--format", "json").stdout)
    assert (said["Type"], said["Name"]) == ("application/x-model", "models/one:1")
    assert "an artifact (application/x-model), not an image" in lamina("run", "models/one:1", status=125).stderr
    lamina("prune", "--force")
    lamina("save", "-o", scratch / "saved", "models/one:1")
    other("copy", f"oci-archive:{scratch}/saved", "models/one:1")
    assert other("store", "check").stdout == ""
    other("copy", "models/one:1", f"oci:{scratch}/back:x")
    assert _blobs(scratch / "back") == made.blobs.keys()
    lamina("rmi", "models/one:1")
    assert things(lamina.store) == set()
