"""What is fuzzed: functions that take any bytes, and raise only where the code under test is wrong.

Each reads its input as that code does, lets it refuse (InvalidInput and its kin), and checks what holds for everything
that it takes. `seeds` are right and wrong inputs to begin with, made by the same helpers as those of other tests.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lamina.errors import InvalidInput, LaminaError
from lamina.oci.config import parse_config
from lamina.oci.digest import parse_digest
from lamina.oci.index import parse_index
from lamina.oci.manifest import parse_any_manifest
from lamina.oci.platform import parse_platform
from lamina.oci.reference import parse_reference
from lamina.oci.timestamp import parse_time
from lamina.tar import write as tarwrite
from lamina.tar.read import TarReader
from lamina.transfer.auth import parse_challenge
from lamina.transfer.credentials import find_credentials
from lamina.transfer.dockerarchive import DockerArchiveSource
from lamina.transfer.endpoints import find_endpoints
from lamina.transfer.layout import LayoutSource
from lamina.transfer.members import list_members
from tests.helpers import layers
from tests.helpers.archives import Pieces, item, mended
from tests.helpers.hostile import LAYERS
from tests.helpers.images import layer_bytes
from tests.helpers.layouts import CONFIG, INDEX, Made


@dataclass(frozen=True, slots=True)
class Target:
    """What to run on each input, and inputs to begin with."""

    run: Callable[[bytes], None]
    seeds: Callable[[], list[bytes]]


def read_tar(data: bytes) -> None:
    """Read an archive, in pieces of a size that the first byte tells: every byte is content or framing, in order."""
    size, data = 1 + data[0] * 16 if data else 1, mended(data[1:])
    literal, seen = bytearray(), bytearray()
    reader = TarReader(Pieces(data, size), literal)
    with contextlib.suppress(InvalidInput):
        for entry in reader:
            seen += literal
            literal.clear()
            while entry.number % 2 and (left := reader.pending()):
                seen += reader.read(left)
        for _ in reader.drain():
            pass
        assert seen + literal == data, "bytes of the archive were lost"


def make_layer(data: bytes) -> None:
    """Unpack an archive, perhaps a compressed one, as an ordinary user's store does: its tar can be made again."""
    with tempfile.TemporaryDirectory() as scratch:
        top = Path(scratch)
        (top / "tar").write_bytes(mended(data))
        try:
            layer = layers.apply(top / "tar", top / "layer", single_id=True, most=1 << 22)
        except InvalidInput:
            assert not list((top / "layer").iterdir()), "what was refused left something behind"
        else:
            layers.assemble(layer, top / "again")
        assert {path.name for path in top.iterdir()} <= {"tar", "layer", "again"}


def open_archive(data: bytes) -> None:
    """Find the images of an archive, by docker's and by OCI's documents in it."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(mended(data))
        file.flush()
        with contextlib.suppress(LaminaError):
            members = list_members(file.name)
            with contextlib.suppress(LaminaError):
                DockerArchiveSource(members, "archive").images()
            LayoutSource(members.get, "archive").images()


def read_documents(data: bytes) -> None:
    """Read a manifest, an index and a config; a config survives being written."""
    with contextlib.suppress(InvalidInput):
        parse_any_manifest(data, "the manifest")
    with contextlib.suppress(InvalidInput):
        parse_index(data)
    with contextlib.suppress(InvalidInput):
        config = parse_config(data)
        assert parse_config(config.encoded().raw).encoded().raw == config.encoded().raw


def read_settings(data: bytes) -> None:
    """Read names, what a registry asks for, and the files that say who one is and where registries are."""
    text = data.decode("utf-8", "surrogateescape")
    for parse in (parse_reference, parse_digest, parse_platform, parse_time, parse_challenge):
        with contextlib.suppress(InvalidInput):
            parse(text)
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        environ = {"REGISTRY_AUTH_FILE": file.name, "CONTAINERS_REGISTRIES_CONF": file.name, "PATH": "/nowhere"}
        with contextlib.suppress(LaminaError):
            find_credentials(environ, "r.test", "a/b")
        with contextlib.suppress(LaminaError):
            find_endpoints(environ, parse_reference("r.test/a/b:1"), pulling=True)


def _archives() -> list[bytes]:
    plain = layer_bytes(1, whiteout=True)
    sparse = item(b"s", content=b"x" * 512, extents=[(0, 512)], size=4096) + tarwrite.END
    return [plain, gzip.compress(plain, mtime=0), sparse, *(content + tarwrite.END for content, _ in LAYERS.values())]


def _image_archives() -> list[bytes]:
    made = Made()
    listed = made.image(layer_bytes(1))
    index = json.dumps({"schemaVersion": 2, "manifests": [listed]}).encode()
    layout = item(b"oci-layout", content=b'{"imageLayoutVersion": "1.0.0"}') + item(b"index.json", content=index)
    layout += b"".join(item(b"blobs/sha256/" + name[7:].encode(), content=data) for name, data in made.blobs.items())
    config, layer, _ = made.blobs.values()
    return [layout + tarwrite.END, _docker_archive(config, layer)]


def _docker_archive(config: bytes, layer: bytes) -> bytes:
    listed = [{"Config": "config.json", "RepoTags": ["a/b:1"], "Layers": ["layer.tar"]}]
    old = {"a/b": {"1": "layer"}}
    members = {
        b"config.json": config, b"layer.tar": layer, b"manifest.json": json.dumps(listed).encode(),
        b"repositories": json.dumps(old).encode(), b"layer/json": b"{}", b"layer/layer.tar": layer,
    }  # fmt: skip
    return b"".join(item(name, content=data) for name, data in members.items()) + tarwrite.END


def _documents() -> list[bytes]:
    made = Made()
    entry = {**made.image(layer_bytes(1)), "platform": {"os": "linux", "architecture": "arm64", "variant": "v8"}}
    made.document({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry], "annotations": {"a": "b"}}, INDEX)
    health = {"Test": ["CMD", "true"], "Interval": 10**9}
    settings = {"User": "a", "ExposedPorts": {"80/tcp": {}}, "Healthcheck": health, "Labels": {"a": "b"}}
    history = [{"created": "2020-01-01T00:00:00Z", "created_by": "x", "empty_layer": True}]
    root = {"type": "layers", "diff_ids": ["sha256:" + "0" * 64]}
    config = {"architecture": "amd64", "os": "linux", "config": settings, "rootfs": root, "history": history}
    made.document(config, CONFIG)
    return [data for data in made.blobs.values() if data.startswith(b"{")]


def _settings() -> list[bytes]:
    auths = {"auths": {"r.test": {"auth": "bWU6c2VjcmV0"}}, "credHelpers": {"x.test": "y"}, "credsStore": ""}
    mirror = '[[registry.mirror]]\nlocation = "m.test/x"\ninsecure = true\n'
    return [
        json.dumps(auths).encode(),
        f'[[registry]]\nprefix = "r.test"\nlocation = "r.test"\nblocked = false\n{mirror}'.encode(),
        b'Bearer realm="https://r.test/token",service="r.test",scope="repository:a/b:pull"',
        b"r.test:5000/a/b:1@sha256:" + b"0" * 64,
        b"linux/arm64/v8",
        b"2020-01-01T00:00:00.5+01:00",
    ]


TARGETS = {
    "tar": Target(read_tar, lambda: [b"\x20" + data for data in _archives()]),
    "layer": Target(make_layer, _archives),
    "archive": Target(open_archive, _image_archives),
    "documents": Target(read_documents, _documents),
    "settings": Target(read_settings, _settings),
}
