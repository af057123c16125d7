"""What says where images are and who one is there: places, endpoints, credentials, challenges. Nothing is asked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lamina.errors import InvalidInput, LaminaError
from lamina.oci.reference import parse_reference
from lamina.transfer.auth import parse_challenge
from lamina.transfer.credentials import (
    Credentials,
    find_credentials,
    login_file,
    remove_credentials,
    store_credentials,
)
from lamina.transfer.endpoints import Endpoint, find_endpoints, trust_of
from lamina.transfer.places import Place, parse_place
from lamina.transfer.remote import parse_registry
from tests.helpers.registries import basic


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a:1", Place("store", "", "a:1")),
        ("store:a:1", Place("store", "", "a:1")),
        ("docker://h:5/a:1", Place("docker", "", "h:5/a:1")),
        ("oci:dir", Place("oci", "dir", "")),
        ("oci:dir:a/b:1", Place("oci", "dir", "a/b:1")),
        ("oci-archive:f.tar:x", Place("oci-archive", "f.tar", "x")),
        ("docker-archive:/f.tar", Place("docker-archive", "/f.tar", "")),
        ("localhost:5000/a:1", Place("store", "", "localhost:5000/a:1")),
    ],
)
def test_places(text: str, place: Place) -> None:
    assert parse_place(text) == place


@pytest.mark.parametrize("text", ["", "oci:", "docker://", "store:", "dir:x", "docker-daemon:a:1", "http://a/b"])
def test_places_that_are_none(text: str) -> None:
    with pytest.raises(InvalidInput, match="cannot copy"):
        parse_place(text)


def test_docker_io_is_elsewhere(tmp_path: Path) -> None:
    environ = {"CONTAINERS_REGISTRIES_CONF": str(tmp_path / "none")}
    (endpoint,) = find_endpoints(environ, parse_reference("a:1"), pulling=True)
    assert endpoint == Endpoint("registry-1.docker.io", "library/a")


@pytest.mark.parametrize("host", ["localhost", "localhost:5000", "127.0.0.1:5000", "127.1.2.3", "[::1]:5000"])
def test_loopback_needs_no_certificate(host: str, tmp_path: Path) -> None:
    environ = {"CONTAINERS_REGISTRIES_CONF": str(tmp_path / "none")}
    (endpoint,) = find_endpoints(environ, parse_reference(f"{host}/a/b:1"), pulling=True)
    assert endpoint == Endpoint(host, "a/b", insecure=True)
    assert not trust_of(environ, endpoint).verify


def _endpoints(tmp_path: Path, settings: str, name: str, *, pulling: bool = True) -> list[Endpoint]:
    path = tmp_path / "registries.conf"
    path.write_text(settings)
    return find_endpoints({"CONTAINERS_REGISTRIES_CONF": str(path)}, parse_reference(name), pulling=pulling)


def test_the_longest_prefix_counts(tmp_path: Path) -> None:
    settings = """
        [[registry]]
        location = "r.example"
        insecure = true
        [[registry]]
        prefix = "r.example/team"
        location = "other.example/x"
        [[registry.mirror]]
        location = "mirror.example"
        insecure = true
        [[registry]]
        prefix = "*.wild.example"
        insecure = true
    """
    assert _endpoints(tmp_path, settings, "r.example/a:1") == [Endpoint("r.example", "a", insecure=True)]
    assert _endpoints(tmp_path, settings, "r.example/teams/a:1") == [Endpoint("r.example", "teams/a", insecure=True)]
    own = Endpoint("other.example", "x/a")
    assert _endpoints(tmp_path, settings, "r.example/team/a:1") == [Endpoint("mirror.example", "a", insecure=True), own]
    assert _endpoints(tmp_path, settings, "r.example/team/a:1", pulling=False) == [own]
    assert _endpoints(tmp_path, settings, "a.wild.example/b:1") == [Endpoint("a.wild.example", "b", insecure=True)]
    assert _endpoints(tmp_path, settings, "x.example/b:1") == [Endpoint("x.example", "b")]


@pytest.mark.parametrize("settings", ["= x", "[[registry]]\nprefix = 1", "[[registry]]\ninsecure = true", "\0"])
def test_damaged_settings_are_named(tmp_path: Path, settings: str) -> None:
    with pytest.raises(InvalidInput, match=r"registries\.conf"):
        _endpoints(tmp_path, settings, "a:1")


def test_a_blocked_registry(tmp_path: Path) -> None:
    with pytest.raises(LaminaError, match="blocks it"):
        _endpoints(tmp_path, '[[registry]]\nlocation = "docker.io"\nblocked = true', "a:1")


def _auths(path: Path, **auths: object) -> dict[str, str]:
    path.write_text(json.dumps({"auths": auths, "other": 1}))
    return {"REGISTRY_AUTH_FILE": str(path)}


def _entry(name: str, password: str) -> dict[str, str]:
    return {"auth": basic(name, password).removeprefix("Basic ")}


def test_the_longest_match_says_who_one_is(tmp_path: Path) -> None:
    keys = {
        "r.example": _entry("host", "a:b"),
        "r.example/team": _entry("team", "x"),
        "https://s.example": _entry("s", "y"),
    }
    environ = _auths(tmp_path / "auth.json", **keys)
    assert find_credentials(environ, "r.example", "team/app") == Credentials("team", "x")
    assert find_credentials(environ, "r.example", "teams/app") == Credentials("host", "a:b")
    assert find_credentials(environ, "s.example", "a") == Credentials("s", "y")
    assert find_credentials(environ, "t.example", "a") is None


def test_dockers_own_key_means_docker_io(tmp_path: Path) -> None:
    environ = _auths(tmp_path / "auth.json", **{"https://index.docker.io/v1/": _entry("me", "x")})
    assert find_credentials(environ, "docker.io", "library/a") == Credentials("me", "x")
    store_credentials(login_file(environ), "docker.io", Credentials("you", "y"))
    assert find_credentials(environ, "docker.io", "library/a") == Credentials("you", "y")


def test_all_files_are_looked_at(tmp_path: Path) -> None:
    for name in ("run/containers", "config/containers", "home/.docker"):
        (tmp_path / name).mkdir(parents=True)
    _auths(tmp_path / "run/containers/auth.json", **{"a.example": _entry("run", "")})
    _auths(
        tmp_path / "config/containers/auth.json", **{"a.example": _entry("c", ""), "b.example": _entry("config", "")}
    )
    _auths(tmp_path / "home/.docker/config.json", **{"b.example": _entry("d", ""), "c.example": _entry("docker", "")})
    environ = {
        "XDG_RUNTIME_DIR": str(tmp_path / "run"),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "HOME": str(tmp_path / "home"),
    }
    found = [find_credentials(environ, f"{host}.example", "x") for host in "abc"]
    assert [who.username if who else "" for who in found] == ["run", "config", "docker"]


def test_what_else_a_file_has_stays(tmp_path: Path) -> None:
    path = tmp_path / "auth.json"
    environ = _auths(path, **{"r.example": _entry("me", "x")})
    store_credentials(login_file(environ), "s.example", Credentials("you", "y"))
    assert set(json.loads(path.read_text())["auths"]) == {"r.example", "s.example"}
    assert path.stat().st_mode & 0o777 == 0o600 and list(tmp_path.iterdir()) == [path]
    assert remove_credentials(str(path), "s.example") and not remove_credentials(str(path), "s.example")
    assert json.loads(path.read_text())["other"] == 1


@pytest.mark.parametrize("content", ["[", '{"auths": []}', '{"auths": {"r.example": {"auth": "!"}}}'])
def test_a_damaged_file_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "auth.json").write_text(content)
    with pytest.raises(InvalidInput, match=r"auth\.json"):
        find_credentials({"REGISTRY_AUTH_FILE": str(tmp_path / "auth.json")}, "r.example", "a")


def test_secrets_are_not_shown() -> None:
    assert "secret" not in repr(Credentials("me", "secret", "secret"))


@pytest.mark.parametrize(
    ("text", "challenge"),
    [
        (
            'Bearer realm="https://a/t",service="s",scope="x,y"',
            ("bearer", {"realm": "https://a/t", "service": "s", "scope": "x,y"}),
        ),
        ('bearer realm="a\\"b" , service=s', ("bearer", {"realm": 'a"b', "service": "s"})),
        ("Basic", ("basic", {})),
        ("", ("", {})),
        ('Bearer realm="', ("bearer", {"realm": ""})),
        ("Bearer x", ("bearer", {})),
    ],
)
def test_challenges(text: str, challenge: tuple[str, dict[str, str]]) -> None:
    assert parse_challenge(text) == challenge


@pytest.mark.parametrize(
    ("text", "registry"), [("", "docker.io"), ("https://r.example/", "r.example"), ("r.example:5", "r.example:5")]
)
def test_registries(text: str, registry: str) -> None:
    assert parse_registry(text) == registry


def test_a_repository_is_no_registry() -> None:
    with pytest.raises(InvalidInput):
        parse_registry("r.example/team")
