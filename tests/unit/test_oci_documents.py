"""Digests, times, platforms, manifests, indexes and configs."""

from __future__ import annotations

import hashlib
import json

import pytest

from lamina.errors import InvalidInput
from lamina.oci import descriptor as media
from lamina.oci.config import HOST_LABEL, ImageConfig, Settings, parse_config, with_layer
from lamina.oci.descriptor import Descriptor
from lamina.oci.digest import (
    BlobDigest,
    DiffId,
    chain_ids,
    check_digest,
    digest_of,
    hex_of,
    parse_digest,
    short,
)
from lamina.oci.document import MAX_DOCUMENT, parse_json
from lamina.oci.index import make_index, parse_index
from lamina.oci.manifest import make_manifest, parse_manifest
from lamina.oci.platform import Platform, parse_platform, platform_of
from lamina.oci.timestamp import format_time, parse_time

A, B = (f"sha256:{letter * 64}" for letter in "ab")


def test_digests() -> None:
    assert parse_digest(A) == A and hex_of(A) == "a" * 64 and short(A) == "a" * 12
    assert digest_of(b"") == "sha256:" + hashlib.sha256(b"").hexdigest()
    check_digest(b"x", BlobDigest("sha512:" + hashlib.sha512(b"x").hexdigest()), "a blob")
    with pytest.raises(InvalidInput, match="its digest is sha256:"):
        check_digest(b"y", digest_of(b"x"), "a blob")


@pytest.mark.parametrize(
    "text", ["", "sha256", "sha256:", A[:-1], A + "a", A.upper(), "md5:" + "a" * 32, "sha256:" + "g" * 64]
)
def test_what_is_no_digest_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="read the digest"):
        parse_digest(text)


def test_chain_ids_follow_the_specification() -> None:
    first, second = chain_ids([DiffId(A), DiffId(B)])
    assert first == A
    assert second == "sha256:" + hashlib.sha256(f"{A} {B}".encode()).hexdigest()
    assert chain_ids([]) == ()


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (1_700_000_000_123_456_789, "2023-11-14T22:13:20.123456789Z"),
        (1_700_000_000_500_000_000, "2023-11-14T22:13:20.5Z"),
        (-1, "1969-12-31T23:59:59.999999999Z"),
    ],
)
def test_times(nanoseconds: int, text: str) -> None:
    assert format_time(nanoseconds) == text
    assert parse_time(text) == nanoseconds


def test_time_zones_and_refusals() -> None:
    assert parse_time("2023-11-14T23:13:20+01:00") == 1_700_000_000_000_000_000
    assert parse_time("2023-11-14T23:13:20.25+01:00") == 1_700_000_000_250_000_000
    for text in ("", "today", "2023-11-14", "2023-11-14T22:13:20", "2023-11-14T22:13:20.Z", "2023-11-14T25:13:20Z"):
        with pytest.raises(InvalidInput, match="RFC 3339"):
            parse_time(text)


def test_platforms() -> None:
    assert str(parse_platform("linux/arm64/v8")) == "linux/arm64/v8"
    assert parse_platform("aarch64") == Platform("linux", "arm64") == platform_of("aarch64")
    assert platform_of("x86_64").runs(Platform("linux", "amd64"))
    assert platform_of("aarch64").runs(Platform("linux", "arm64", "v8"))
    assert not platform_of("aarch64").runs(Platform("linux", "arm", "v7"))
    assert platform_of("strange").architecture == "strange"
    for text in ("", "linux/", "a/b/c/d", "linux/am d64"):
        with pytest.raises(InvalidInput):
            parse_platform(text)


def test_manifest_round_trip() -> None:
    config = Descriptor(media.CONFIG, BlobDigest(A), 2)
    layer = Descriptor(media.LAYER, BlobDigest(B), 10240, annotations={"k": "v"}, other={"urls": ["x"]})
    made = make_manifest(config, (layer,), {"a": "b"})
    assert parse_manifest(made.raw) == made
    assert make_manifest(config, (layer,), {"a": "b"}).raw == made.raw


def _manifest(**changes: object) -> bytes:
    descriptor = {"mediaType": media.CONFIG, "digest": A, "size": 2}
    document: dict[str, object] = {"schemaVersion": 2, "mediaType": media.MANIFEST, "config": descriptor, "layers": []}
    return json.dumps({**document, **changes}).encode()


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "not JSON"),
        (b"[]", "the document must be an object"),
        (b"NaN", "NaN is not a JSON value"),
        (b"[" * 100000, "nested too deeply"),
        (b"9" * 5000, "not JSON"),
        (b"\xff", "not JSON"),
        (b" " * (MAX_DOCUMENT + 1), "larger than"),
        (_manifest(schemaVersion=1), "schemaVersion is not 2"),
        (_manifest(schemaVersion=True), "schemaVersion must be an integer"),
        (_manifest(mediaType=media.INDEX), "is that of an index"),
        (_manifest(manifests=[]), "is that of an index"),
        (_manifest(mediaType="text/plain"), "no image manifest"),
        (_manifest(config=None), "config is missing"),
        (_manifest(config={"mediaType": "x", "digest": "y", "size": 1}), "config.digest is 'y': it has no colon"),
        (_manifest(config={"mediaType": "x", "digest": A, "size": -1}), "config.size is negative"),
        (_manifest(config={"mediaType": "x", "digest": A}), "config.size is missing"),
        (_manifest(layers=[1]), r"layers\[0\] must be an object"),
        (_manifest(layers=[{"mediaType": "text/x", "digest": A, "size": 1}]), r"layers\[0\].mediaType is 'text/x'"),
        (_manifest(annotations={"a": 1}), "annotations.a must be a string"),
    ],
)
def test_what_is_no_manifest_is_refused(raw: bytes, reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        parse_manifest(raw)


def test_index_chooses_by_platform() -> None:
    arm = Descriptor(media.MANIFEST, BlobDigest(A), 1, platform=Platform("linux", "arm64", "v8"))
    amd = Descriptor(media.MANIFEST, BlobDigest(B), 1, platform=Platform("linux", "amd64"))
    index = parse_index(make_index([arm, amd]).raw)
    assert index.choose(platform_of("x86_64")) == amd
    assert index.choose(platform_of("aarch64")) == arm
    assert index.choose(platform_of("s390x")) is None
    alone = make_index([Descriptor(media.MANIFEST, BlobDigest(A), 1)])
    assert alone.choose(platform_of("s390x")) == alone.manifests[0]
    for raw in (b'{"schemaVersion":2}', b'{"schemaVersion":2,"manifests":[],"layers":[]}'):
        with pytest.raises(InvalidInput):
            parse_index(raw)


def test_config_keeps_what_it_does_not_know() -> None:
    document = {
        "architecture": "amd64",
        "os": "linux",
        "docker_version": "x",
        "config": {"Healthcheck": {"Test": ["NONE"]}, "Env": ["A=b"], "Cmd": [], "Labels": None},
        "rootfs": {"type": "layers", "diff_ids": [A]},
        "history": [{"created_by": "x", "future": 1}],
    }
    config = parse_config(json.dumps(document).encode())
    assert config.settings.cmd == () and config.settings.entrypoint is None
    again = parse_config(config.encoded().raw)
    assert again == config
    assert again.other == {"docker_version": "x"}
    assert again.settings.other == {"Healthcheck": {"Test": ["NONE"]}}
    assert again.history[0].other == {"future": 1}


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ({}, "architecture is missing"),
        ({"architecture": "x"}, "rootfs is missing"),
        ({"architecture": "x", "rootfs": {"type": "zip"}}, "rootfs.type"),
        ({"architecture": "x", "rootfs": {"diff_ids": ["z"]}}, r"rootfs.diff_ids\[0\] is 'z'"),
        ({"architecture": "x", "rootfs": {"diff_ids": [A] * 2001}}, "more than 2000"),
        ({"architecture": "x", "rootfs": {}, "config": {"Env": [1]}}, r"config.Env\[0\] must be a string"),
        ({"architecture": "x", "rootfs": {}, "history": [{"empty_layer": 1}]}, r"history\[0\].empty_layer"),
    ],
)
def test_what_is_no_config_is_refused(document: object, reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        parse_config(json.dumps(document).encode())


def test_a_layer_more() -> None:
    base = ImageConfig(Platform("linux", "amd64"))
    settings = Settings(env=("A=b",), labels={HOST_LABEL: "x"})
    one = with_layer(base, DiffId(A), settings=settings, created=0, created_by="import", author="me")
    two = with_layer(one, DiffId(B), settings=settings, created=10**9, created_by="sh", comment="why")
    assert two.diff_ids == (A, B) and two.author == "me" and two.created == "1970-01-01T00:00:01Z"
    assert [entry.created_by for entry in two.history] == ["import", "sh"]
    assert parse_config(two.raw) == two


def test_json_null_is_absent() -> None:
    raw = b'{"architecture":"x","config":null,"rootfs":{"diff_ids":null},"history":null}'
    assert parse_config(raw).settings == Settings()
    assert parse_json(b"null", "x") is None
