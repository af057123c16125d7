"""References: the golden table of what docker's rules make of a name, and what they refuse."""

from __future__ import annotations

import pytest

from lamina.errors import InvalidInput
from lamina.oci.reference import Reference, parse_name, parse_reference

D = "sha256:" + "0123456789abcdef" * 4

# typed, registry, repository, tag, digest, shown
GOLDEN = [
    ("base", "docker.io", "library/base", None, None, "base"),
    ("base:1", "docker.io", "library/base", "1", None, "base:1"),
    ("docker.io/base:1", "docker.io", "library/base", "1", None, "base:1"),
    ("docker.io/library/base:1", "docker.io", "library/base", "1", None, "base:1"),
    ("index.docker.io/library/base", "docker.io", "library/base", None, None, "base"),
    ("library/base", "docker.io", "library/base", None, None, "base"),
    ("me/app", "docker.io", "me/app", None, None, "me/app"),
    ("me/app/part:v1.0_2-x", "docker.io", "me/app/part", "v1.0_2-x", None, "me/app/part:v1.0_2-x"),
    ("library/a/b", "docker.io", "library/a/b", None, None, "library/a/b"),
    ("localhost/app", "localhost", "app", None, None, "localhost/app"),
    ("localhost:5000/app:2", "localhost:5000", "app", "2", None, "localhost:5000/app:2"),
    ("host.example/app", "host.example", "app", None, None, "host.example/app"),
    ("host.example:443/a/b/c:t", "host.example:443", "a/b/c", "t", None, "host.example:443/a/b/c:t"),
    ("HOST/app", "HOST", "app", None, None, "HOST/app"),
    ("10.0.0.1:80/app", "10.0.0.1:80", "app", None, None, "10.0.0.1:80/app"),
    ("[::1]/app:1", "[::1]", "app", "1", None, "[::1]/app:1"),
    ("[fd00::2]:5000/app", "[fd00::2]:5000", "app", None, None, "[fd00::2]:5000/app"),
    (f"base@{D}", "docker.io", "library/base", None, D, f"base@{D}"),
    (f"base:1@{D}", "docker.io", "library/base", "1", D, f"base:1@{D}"),
    ("a__b/c--d.e_f", "docker.io", "a__b/c--d.e_f", None, None, "a__b/c--d.e_f"),
    ("base:_", "docker.io", "library/base", "_", None, "base:_"),
    ("base:LATEST", "docker.io", "library/base", "LATEST", None, "base:LATEST"),
    ("host:5000", "docker.io", "library/host", "5000", None, "host:5000"),
    ("x.y/" + "a" * 255, "x.y", "a" * 255, None, None, "x.y/" + "a" * 255),
    ("base:" + "t" * 128, "docker.io", "library/base", "t" * 128, None, "base:" + "t" * 128),
    ("f" * 64 + "/b", "docker.io", "f" * 64 + "/b", None, None, "f" * 64 + "/b"),
]

REFUSED = [
    ("", "no repository"),
    (":1", "no repository"),
    ("base:", "tag is empty"),
    ("base:-1", "begins with none"),
    ("base:.x", "begins with none"),
    ("base:a b", "letters, digits"),
    ("base:" + "t" * 129, "longer than 128"),
    ("me/Base", "lower-case"),
    ("Base", "lower-case"),
    ("base/", "empty component"),
    ("/base", "empty component"),
    ("a//b", "empty component"),
    ("a/../b", "must begin and end"),
    ("me/..", "must begin and end"),
    ("me/.hidden", "must begin and end"),
    ("me/a..b", "cannot stand inside"),
    ("me/a___b", "cannot stand inside"),
    ("me/a._b", "cannot stand inside"),
    ("me/a_", "must begin and end"),
    ("me/a b", "character ' '"),
    ("bäse", "character 'ä'"),
    ("-host.example/app", "not a host name"),
    ("host..example/app", "not a host name"),
    ("host.example:/app", "not a number"),
    ("host.example:x/app", "not a number"),
    ("[::g]/app", "IPv6"),
    ("[::1/app", "IPv6"),
    ("[]:1/app", "IPv6"),
    ("base@", "no colon"),
    ("base@sha256:12", "64 lower-case"),
    ("base@md5:" + "0" * 32, "none of sha256"),
    ("f" * 64, "digits are an id"),
    ("a" * 250, "longer than 255"),
    ("base\n", "character"),
    ("base\0", "character"),
    ("x" * 256 + ".y/a", "longer than 255"),
]


@pytest.mark.parametrize("row", GOLDEN)
def test_golden(row: tuple[str, str, str, str | None, str | None, str]) -> None:
    typed, registry, repository, tag, digest, shown = row
    reference = parse_reference(typed)
    assert (reference.registry, reference.repository, reference.tag, reference.digest) == (
        registry,
        repository,
        tag,
        digest,
    )
    assert reference.familiar == shown
    assert parse_reference(reference.familiar) == reference == parse_reference(str(reference))


@pytest.mark.parametrize(("typed", "reason"), REFUSED)
def test_refused(typed: str, reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason) as caught:
        parse_reference(typed)
    assert "\n" not in str(caught.value)


def test_a_name_gets_the_tag_latest_and_no_digest() -> None:
    assert parse_name("base") == Reference("docker.io", "library/base", "latest")
    assert parse_reference("base").tagged().tag == "latest"
    assert parse_reference(f"base@{D}").tagged().tag is None
    with pytest.raises(InvalidInput, match="no digest"):
        parse_name(f"base@{D}")


def test_hash_and_repository() -> None:
    assert len({parse_reference("base"), parse_reference("docker.io/library/base")}) == 1
    assert parse_reference("me/app:1").familiar_repository == "me/app"
