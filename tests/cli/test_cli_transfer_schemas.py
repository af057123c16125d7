"""What we write as OCI image layouts is what the image specification's schemas allow."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.command import Lamina
from tests.helpers.images import layer_bytes, rootfs_archive
from tests.helpers.layouts import INDEX, Made, digest
from tests.helpers.registries import own_registry
from tests.helpers.schemas import Schemas

_DIGEST = digest(b"")
_DESCRIPTOR = {"mediaType": "text/plain", "digest": _DIGEST, "size": 0}
_LIST = {"schemaVersion": 2, "manifests": []}
_CONFIG = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [_DIGEST]}}


@pytest.fixture(scope="module")
def schemas() -> Schemas:
    """Return the schemas, which are schemas themselves."""
    return Schemas()


_DOCKERFILE = """\
FROM base:1
ENV A=b PATH=/bin
LABEL about="a label" other=""
EXPOSE 80 53/udp
VOLUME /data
USER 3:4
WORKDIR /srv
STOPSIGNAL SIGINT
HEALTHCHECK --interval=5s CMD ["true"]
COPY file /srv/
ENTRYPOINT ["/bin/x"]
CMD ["one", "two"]
"""


@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
@pytest.mark.parametrize("form", ["oci-dir", "oci-archive", "docker-archive"])
def test_a_built_image_is_saved(
    lamina: Lamina, scratch: Path, schemas: Schemas, *, form: str, compression: str
) -> None:
    lamina("import", rootfs_archive(scratch / "base.tar"), "base:1")
    (scratch / "context").mkdir()
    (scratch / "context/file").write_text("content")
    (scratch / "context/Dockerfile").write_text(_DOCKERFILE)
    lamina("build", "-t", "a/b:1", scratch / "context")
    lamina("save", "--format", form, "--compression", compression, "-o", scratch / "saved", "a/b:1")
    layout = scratch / "saved"
    if form != "oci-dir":
        layout = scratch / "layout"
        layout.mkdir()
        subprocess.run(["tar", "-xf", str(scratch / "saved"), "-C", str(layout)], check=True)
    assert schemas.layout_faults(layout) == (["config", "index", "layout", "manifest"], [])


def test_an_index_of_several_platforms_is_saved(lamina: Lamina, scratch: Path, schemas: Schemas) -> None:
    made = Made()
    entries = [
        {**made.image(layer_bytes(number), architecture=name), "platform": {"os": "linux", "architecture": name}}
        for number, name in enumerate(("amd64", "arm64"))
    ]
    made.list(made.document({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}, INDEX), "docker.io/a/b:1")
    lamina("load", "--all-platforms", "-i", made.write(scratch / "layout"))
    lamina("save", "--format", "oci-dir", "-o", scratch / "saved", "a/b:1")
    used, wrong = schemas.layout_faults(scratch / "saved")
    assert wrong == [] and used == sorted(["layout", *["index"] * 2, *["manifest", "config"] * 2])


def test_an_artifact_is_written(lamina: Lamina, scratch: Path, schemas: Schemas) -> None:
    lamina("import", rootfs_archive(scratch / "base.tar"), "a/b:1")
    (scratch / "note").write_text("note")
    with own_registry(Made(), {}) as (host, _):
        lamina("push", "a/b:1", f"{host}/a/b:1")
        (note,) = lamina("attach", "--type", "text/x-note", "--annotation", "a=b", f"{host}/a/b:1", "note").lines()
        lamina("copy", f"docker://{host}/a/b@{note}", f"oci:{scratch}/fetched:x")
    assert schemas.layout_faults(scratch / "fetched") == (["index", "layout", "manifest"], [])


@pytest.mark.parametrize(
    ("name", "document"),
    [
        ("layout", {}),
        ("layout", {"imageLayoutVersion": "2.0.0"}),
        ("descriptor", {**_DESCRIPTOR, "size": -1}),
        ("descriptor", {**_DESCRIPTOR, "digest": "sha256:0"}),
        ("descriptor", {**_DESCRIPTOR, "digest": "../x"}),
        ("descriptor", {**_DESCRIPTOR, "mediaType": "text"}),
        ("descriptor", {**_DESCRIPTOR, "annotations": {"a": 1}}),
        ("descriptor", {**_DESCRIPTOR, "platform": {"os": "linux"}}),
        ("index", {**_LIST, "schemaVersion": 1}),
        ("index", {**_LIST, "manifests": [{}]}),
        ("index", {**_LIST, "layers": []}),
        ("manifest", {"schemaVersion": 2, "config": _DESCRIPTOR, "layers": []}),
        ("manifest", {"schemaVersion": 2, "config": _DESCRIPTOR, "layers": [_DESCRIPTOR], "subject": {}}),
        (
            "manifest",
            {
                "schemaVersion": 2,
                "config": {**_DESCRIPTOR, "mediaType": "application/vnd.oci.empty.v1+json"},
                "layers": [_DESCRIPTOR],
            },
        ),
        ("config", {**_CONFIG, "rootfs": {"type": "layers"}}),
        ("config", {**_CONFIG, "created": "yesterday"}),
        ("config", {**_CONFIG, "config": {"Env": ["A"]}}),
        ("config", {**_CONFIG, "config": {"ExposedPorts": {"http": {}}}}),
        ("config", {**_CONFIG, "history": [{"empty_layer": "yes"}]}),
    ],
)
def test_the_schemas_refuse_what_is_wrong(schemas: Schemas, name: str, document: dict[str, Any]) -> None:
    assert schemas.faults(name, document)
