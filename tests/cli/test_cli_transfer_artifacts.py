"""attach and referrers: artifacts beside images, at registries that know of referrers and at those that do not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.command import Lamina
from tests.helpers.images import layer_bytes
from tests.helpers.layouts import Made
from tests.helpers.registries import docker_registry, own_registry

_SBOM = "application/spdx+json"


@pytest.fixture
def image(lamina: Lamina, scratch: Path) -> str:
    """Return the name of an image in the store."""
    made = Made()
    made.list(made.image(layer_bytes(1)), "docker.io/team/image:1")
    lamina("load", "-i", made.write(scratch / "layout"))
    return "team/image:1"


@pytest.fixture(params=["docker-registry", "with referrers"])
def host(request: pytest.FixtureRequest, scratch: Path) -> Iterator[str]:
    """Return the host of a registry: Debian's, which knows no referrers, or our own, which does."""
    if request.param == "docker-registry":
        with docker_registry(scratch / "registry") as registry:
            yield registry.host
    else:
        with own_registry(Made(), {}) as (address, _):
            yield address


@pytest.mark.requires("docker-registry")
def test_what_is_attached_is_listed_and_fetched(lamina: Lamina, image: str, host: str, scratch: Path) -> None:
    remote = f"{host}/a/b"
    (subject,) = lamina("push", image, f"{remote}:1").lines()
    assert lamina("referrers", "-q", f"{remote}:1").stdout == ""
    (scratch / "sbom.json").write_text('{"packages": []}')
    (scratch / "note").write_bytes(bytes(3 << 20))
    (sbom,) = lamina("attach", "--type", _SBOM, "--annotation", "a=b", f"{remote}:1", scratch / "sbom.json").lines()
    (note,) = lamina(
        "attach", "--type", "text/x-note", "--media-type", "text/plain", f"{remote}@{subject}", scratch / "note"
    ).lines()
    assert set(lamina("referrers", "-q", f"{remote}:1").lines()) == {sbom, note}
    assert lamina("referrers", "-q", "--type", _SBOM, f"{remote}:1").lines() == [sbom]
    (said,) = json.loads(lamina("referrers", "--format", "json", "--type", _SBOM, f"{remote}:1").stdout)
    assert said["ArtifactType"] == _SBOM and said["Annotations"] == {"a": "b"}
    # Attaching the same again changes nothing.
    assert lamina("attach", "--type", _SBOM, "--annotation", "a=b", f"{remote}:1", scratch / "sbom.json").lines() == [
        sbom
    ]
    assert len(lamina("referrers", "-q", f"{remote}:1").lines()) == 2

    lamina("copy", f"docker://{remote}@{sbom}", f"oci:{scratch}/fetched:x")
    blobs = scratch / "fetched/blobs/sha256"
    manifest = json.loads((blobs / sbom.partition(":")[2]).read_text())
    assert manifest["subject"]["digest"] == subject and manifest["artifactType"] == _SBOM
    (layer,) = manifest["layers"]
    assert layer["annotations"] == {"org.opencontainers.image.title": "sbom.json"}
    assert (blobs / layer["digest"].partition(":")[2]).read_text() == '{"packages": []}'
    # Copied by us to another repository, it is on the list there, too.
    lamina("push", image, f"{host}/c/d:1")
    lamina("copy", f"oci:{scratch}/fetched:x", f"docker://{host}/c/d:sbom")
    assert sbom in lamina("referrers", "-q", f"{host}/c/d:1").lines()


@pytest.mark.requires("docker-registry")
def test_the_list_of_a_registry_without_referrers_is_under_a_tag(lamina: Lamina, image: str, scratch: Path) -> None:
    with docker_registry(scratch / "registry") as registry:
        remote = f"{registry.host}/a/b:1"
        (subject,) = lamina("push", image, remote).lines()
        (scratch / "x").write_text("x")
        lamina("attach", "--type", _SBOM, remote, scratch / "x")
        assert set(lamina("tags", f"{registry.host}/a/b").lines()) == {"1", subject.replace(":", "-")}


def test_a_registry_that_does_not_filter_is_filtered_for(lamina: Lamina, image: str, scratch: Path) -> None:
    with own_registry(Made(), {}) as (host, state):
        lamina("push", image, f"{host}/a/b:1")
        (scratch / "x").write_text("x")
        kept = [lamina("attach", "--type", f"t/{n}", f"{host}/a/b:1", scratch / "x").stdout.strip() for n in "ab"]
        assert lamina("referrers", "-q", "--type", "t/b", f"{host}/a/b:1").lines() == [kept[1]]
        assert state.count("GET", "artifactType=t%2Fb") == 1


def test_what_cannot_be_attached_is_one_line(lamina: Lamina, image: str, scratch: Path) -> None:
    (scratch / "x").write_text("x")
    with own_registry(Made(), {}) as (host, _):
        assert "no such file" in lamina("attach", "--type", "t/x", f"{host}/a/b:1", "missing", status=125).stderr
        gone = lamina("attach", "--type", "t/x", f"{host}/a/b:1", scratch / "x", status=125)
        assert gone.stderr.count("\n") == 1 and "no such image" in gone.stderr
        assert "no such image" in lamina("referrers", f"{host}/a/b:1", status=125).stderr
    assert "--type" in lamina("attach", "127.0.0.1:1/a:1", "x", status=2).stderr
