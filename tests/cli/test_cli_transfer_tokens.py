"""A docker-registry that believes a token server alone, with TLS and without; and tokens that expire at any moment."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.command import Lamina
from tests.helpers.images import facts, layer_bytes
from tests.helpers.layouts import Made
from tests.helpers.registries import Handler, Registry, basic, docker_registry, own_registry
from tests.helpers.tokens import Asked, TokenServer, make_certificate, token_server

_USERS = {"me": "se:cret"}


@pytest.fixture
def guarded(request: pytest.FixtureRequest, scratch: Path) -> Iterator[tuple[Registry, TokenServer]]:
    """Return a registry and its token server; both speak TLS where the parameter says so."""
    tls = getattr(request, "param", "") == "https"
    make_certificate(scratch / "registry")
    with (
        token_server(
            scratch / "registry", users=_USERS, refresh={"r-1": "me"}, public=("open/image",), tls=tls
        ) as tokens,
        docker_registry(scratch / "registry", tokens=tokens, tls=tls) as registry,
    ):
        yield registry, tokens


@pytest.fixture
def image(lamina: Lamina, scratch: Path) -> str:
    """Return the name of an image in the store."""
    made = Made()
    made.list(made.image(layer_bytes(1), layer_bytes(2)), "docker.io/team/image:1")
    lamina("load", "-i", made.write(scratch / "layout"))
    return "team/image:1"


def _knowing(scratch: Path, host: str, **entry: str) -> dict[str, str]:
    """Return variables for somebody whose auth.json has `entry` for the registry."""
    (scratch / "auth.json").write_text(json.dumps({"auths": {host: entry}}))
    return {"REGISTRY_AUTH_FILE": str(scratch / "auth.json")}


def _as_me(scratch: Path, host: str) -> dict[str, str]:
    return _knowing(scratch, host, auth=basic("me", "se:cret").removeprefix("Basic "))


@pytest.mark.requires("docker-registry", "openssl")
@pytest.mark.parametrize("guarded", ["http", "https"], indirect=True)
def test_a_token_is_for_what_is_done_and_no_more(
    lamina: Lamina, image: str, guarded: tuple[Registry, TokenServer], scratch: Path
) -> None:
    registry, tokens = guarded
    me = _as_me(scratch, registry.host)
    lamina("push", image, f"{registry.host}/open/image:1", env=me)
    assert set(tokens.asked) == {Asked("GET", "me", ("repository:open/image:pull,push",))}
    tokens.asked.clear()
    lamina("pull", f"{registry.host}/open/image:1", env=me)
    assert set(tokens.asked) == {Asked("GET", "me", ("repository:open/image:pull",))}
    tokens.asked.clear()
    # A blob of another repository is mounted by a token for both.
    lamina("push", f"{registry.host}/open/image:1", f"{registry.host}/next/image:1", env=me)
    both = ("repository:next/image:pull,push", "repository:open/image:pull")
    assert Asked("GET", "me", both) in tokens.asked
    assert [line for line in registry.requests("POST") if "mount=" in line and "from=open" in line]
    assert lamina("tags", f"{registry.host}/next/image", env=me).lines() == ["1"]


@pytest.mark.requires("docker-registry", "openssl")
def test_who_has_no_password_reads_what_is_public(
    lamina: Lamina, image: str, guarded: tuple[Registry, TokenServer], scratch: Path
) -> None:
    registry, tokens = guarded
    me = _as_me(scratch, registry.host)
    for name in ("open/image:1", "shut/image:1"):
        lamina("push", image, f"{registry.host}/{name}", env=me)
    tokens.asked.clear()
    nobody = {"REGISTRY_AUTH_FILE": str(scratch / "none.json"), "HOME": str(scratch)}
    lamina("pull", f"{registry.host}/open/image:1", env=nobody)
    assert {asked.who for asked in tokens.asked} == {""}
    for words in (("pull", f"{registry.host}/shut/image:1"), ("push", image, f"{registry.host}/open/image:2")):
        refused = lamina(*words, env=nobody, status=125).stderr
        assert "denies access" in refused and f"lamina login {registry.host}" in refused


@pytest.mark.requires("docker-registry", "openssl")
def test_login_checks_the_password_with_the_token_server(
    lamina: Lamina, image: str, guarded: tuple[Registry, TokenServer], scratch: Path
) -> None:
    registry, _ = guarded
    env = {"REGISTRY_AUTH_FILE": str(scratch / "auth.json")}
    login = ("login", "-u", "me", "--password-stdin", registry.host)
    wrong = lamina(*login, input="wrong", env=env, status=125)
    assert "does not accept the name and password" in wrong.stderr and not (scratch / "auth.json").exists()
    lamina(*login, input="se:cret\n", env=env)
    lamina("push", image, f"{registry.host}/a/b:1", env=env)
    lamina("logout", registry.host, env=env)
    assert "denies access" in lamina("pull", f"{registry.host}/a/b:1", env=env, status=125).stderr


@pytest.mark.requires("docker-registry", "openssl")
def test_a_refresh_token_is_exchanged(
    lamina: Lamina, image: str, guarded: tuple[Registry, TokenServer], scratch: Path
) -> None:
    registry, tokens = guarded
    lamina("push", image, f"{registry.host}/a/b:1", env=_knowing(scratch, registry.host, identitytoken="r-1"))
    assert set(tokens.asked) == {Asked("POST", "me", ("repository:a/b:pull,push",))}
    stale = _knowing(scratch, registry.host, identitytoken="r-2")
    assert "lamina login" in lamina("pull", f"{registry.host}/a/b:1", env=stale, status=125).stderr


@pytest.mark.requires("docker-registry", "openssl")
def test_an_expired_token_is_replaced(
    lamina: Lamina, image: str, guarded: tuple[Registry, TokenServer], scratch: Path
) -> None:
    registry, tokens = guarded
    me = _as_me(scratch, registry.host)
    tokens.expired = 1
    lamina("push", image, f"{registry.host}/a/b:1", env=me)
    assert len(tokens.asked) == 2  # one for all that was under way
    tokens.expired = 1
    lamina("pull", f"{registry.host}/a/b:1", env=me)
    tokens.expired = 1 << 20  # a clock that is wrong for good is no reason to ask for ever
    before = len(tokens.asked)
    assert "denies access" in lamina("pull", f"{registry.host}/a/b:1", env=me, status=125).stderr
    assert len(tokens.asked) - before <= 3


def test_a_token_may_expire_before_any_request_of_a_push(lamina: Lamina, image: str, scratch: Path) -> None:
    left = 0  # how many requests the token is still good for
    issued = 0
    expired = 0

    def trick(handler: Handler) -> bool:
        nonlocal left, issued, expired
        if handler.path.startswith("/token"):
            issued += 1
            handler.answer(200, json.dumps({"token": f"t{issued}"}).encode(), "application/json")
            return True
        if handler.headers.get("Authorization") == f"Bearer t{issued}" and (issued > 1 or left > 0):
            left -= 1
            return False
        expired += issued == 1
        handler.body()
        realm = f"http://{handler.headers['Host']}/token"
        handler.answer(401, b"", WWW_Authenticate=f'Bearer realm="{realm}",service="x",scope="y"')
        return True

    moment = 0
    while True:
        left, issued, expired = moment, 0, 0
        with own_registry(Made(), {}, trick) as (host, state):
            lamina("push", image, f"{host}/a/b:1")
            assert set(json.loads(state.made.blobs[state.tags["1"]]).keys()) >= {"config", "layers"}
            sent = json.loads(state.made.blobs[state.tags["1"]])
            assert all(part["digest"] in state.made.blobs for part in (sent["config"], *sent["layers"]))
        if not expired:
            break
        moment += 1
    assert moment > 5  # every request of it had its turn
    assert facts(lamina, image)
