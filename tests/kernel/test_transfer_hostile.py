"""Images that attack, on their whole way through `load`: more than sixty, each refused or made harmless.

Every layer is loaded as the second of an image, over a base with a directory, a link out of the tree and a file, and
beside a directory of the host that must stay as it is: as root, with a range of ids, and with one.
"""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import lamina
from tests.helpers.hostile import LAYERS
from tests.helpers.images import layer_bytes
from tests.helpers.layers import look
from tests.helpers.layouts import MANIFEST, Made

pytestmark = pytest.mark.requires("userns")

_END = bytes(1024)


def _base() -> bytes:
    """Return a layer with a directory, a file, and links out of the tree."""
    return _tar(("etc", None), ("etc/layer1", b"1"), ("out", "/etc"))


def _tar(*members: tuple[str, bytes | str | None]) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if content is None:
                info.type, info.mode = tarfile.DIRTYPE, 0o755
            elif isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
            else:
                info.size = len(content)
            tar.addfile(info, io.BytesIO(content) if isinstance(content, bytes) else None)
    return data.getvalue()


@pytest.fixture
def host(scratch: Path) -> Path:
    """Return a directory of the host with a file that an attack could reach, next to the store."""
    (scratch / "evil").write_text("untouched")
    (scratch / "host").mkdir()
    (scratch / "host" / "file").write_text("untouched")
    return scratch


@pytest.fixture
def store(store_path: Path) -> Iterator[lamina.Store]:
    """Return the test's store, in this process."""
    with lamina.Store(store_path) as opened:
        yield opened
        opened.prune(images=True)


def _load(store: lamina.Store, layout: Path, reason: str, *, most: int | None = None) -> None:
    if reason:
        with pytest.raises(lamina.LaminaError) as caught:
            store.load(layout, max_unpacked_size=most)
        assert reason in str(caught.value) and str(caught.value).isprintable()
        assert not store.images() and not list(Path(store.root, "staging").iterdir())
    else:
        store.load(layout, max_unpacked_size=most)
        assert store.check() == []


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_does_no_harm(store: lamina.Store, host: Path, name: str) -> None:
    content, reason = LAYERS[name]
    made = Made()
    made.list(made.image(_base(), content + _END), "docker.io/a/b:1")
    layout = made.write(host / "layout")
    before = {path: look(host / path) for path in ("host", "layout")}
    _load(store, layout, reason)
    assert {path: look(host / path) for path in before} == before
    assert (host / "evil").read_text() == "untouched"
    assert sorted(path.name for path in host.iterdir()) == ["evil", "host", "layout", "store"]


def _truncated(data: bytes) -> bytes:
    return data[: len(data) // 2]


STREAMS: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "truncated gzip": (_truncated, "truncated"),
    "damaged gzip": (lambda data: data[:30] + b"\xff" * 30 + data[60:], "damaged"),
    "no gzip": (lambda data: b"\x1f\x8b" + b"junk" * 100, "damaged"),
    "empty": (lambda data: b"", "empty"),
    "two members": (lambda data: gzip.compress(layer_bytes(2)[:1024]) + gzip.compress(layer_bytes(2)[1024:]), ""),
    "junk at the end": (lambda data: data + b"junk", ""),
    "another layer": (lambda data: gzip.compress(layer_bytes(9)), "its content is sha256:"),
    "more after the end": (lambda data: data + gzip.compress(b"more"), "its content is sha256:"),
}


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_does_no_harm(store: lamina.Store, host: Path, name: str) -> None:
    change, reason = STREAMS[name]
    tar = layer_bytes(2)
    made = Made()
    packed = gzip.compress(tar, mtime=0)
    made.list(made.image(_base(), tar, stored=[gzip.compress(_base(), mtime=0), change(packed)]), "docker.io/a/b:1")
    _load(store, made.write(host / "layout"), reason)


def _bomb(size: int) -> tuple[Made, bytes]:
    """Return an image whose layer is small and becomes `size` bytes."""
    tar = tarfile.TarInfo("zeros")
    tar.size = size
    head = tar.tobuf()
    made = Made()
    made.list(made.image(head + bytes(size) + _END), "docker.io/a/b:1")
    return made, head


def test_a_bomb_is_refused_by_the_limit(store: lamina.Store, host: Path) -> None:
    made, _ = _bomb(64 << 20)
    layout = made.write(host / "layout")
    _load(store, layout, "more than 1048576", most=1 << 20)
    assert not list(Path(store.root, "layers").iterdir())
    _load(store, layout, "", most=65 << 20)


def test_many_small_layers_are_counted_together(store: lamina.Store, host: Path) -> None:
    made = Made()
    made.list(made.image(*(layer_bytes(number) for number in range(1, 6))), "docker.io/a/b:1")
    layout = made.write(host / "layout")
    _load(store, layout, "its layers have", most=40 << 10)
    _load(store, layout, "", most=60 << 10)


DOCUMENTS: dict[str, tuple[Callable[[dict[str, object]], object], str]] = {
    "no config": (lambda m: {**m, "config": None}, "config"),
    "schema 1": (lambda m: {**m, "schemaVersion": 1}, "schemaVersion"),
    "an index, too": (lambda m: {**m, "manifests": []}, "index"),
    "layers that are none": (lambda m: {**m, "layers": "x"}, "layers"),
    "fewer layers": (lambda m: {**m, "layers": []}, "layers"),
    "a digest with a path": (
        lambda m: {**m, "config": {**m["config"], "digest": "sha256:../../../etc/passwd"}}, "digest"),  # type: ignore[dict-item]  # as JSON has it
    "another algorithm": (
        lambda m: {**m, "config": {**m["config"], "digest": "md5:" + "0" * 32}}, "algorithm"),  # type: ignore[dict-item]  # as above
    "a size that lies": (lambda m: {**m, "config": {**m["config"], "size": 1}}, "bytes"),  # type: ignore[dict-item]  # as above
    "a negative size": (lambda m: {**m, "config": {**m["config"], "size": -1}}, "negative"),  # type: ignore[dict-item]  # as above
    "an artifact": (lambda m: {**m, "config": {**m["config"], "mediaType": "text/plain"}}, "artifact"),  # type: ignore[dict-item]  # as above
    "a list": (lambda m: [], "must be an object"),
}  # fmt: skip


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_does_no_harm(store: lamina.Store, host: Path, name: str) -> None:
    change, reason = DOCUMENTS[name]
    made = Made()
    image = made.image(layer_bytes(1))
    manifest = json.loads(made.blobs[image["digest"]])
    made.list(made.document(change(manifest), MANIFEST), "docker.io/a/b:1")
    _load(store, made.write(host / "layout"), reason)


def test_deep_json_is_refused(store: lamina.Store, host: Path) -> None:
    made = Made()
    made.list(made.blob(b"[" * 100_000, MANIFEST), "docker.io/a/b:1")
    _load(store, made.write(host / "layout"), "nested too deeply")


def test_there_are_enough() -> None:
    assert len(LAYERS) + len(STREAMS) + len(DOCUMENTS) >= 60
