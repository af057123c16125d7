"""Pulling from a registry that misbehaves: what can be mended is, what cannot is told, and nothing is left behind."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers.command import Lamina, program
from tests.helpers.images import layer_bytes
from tests.helpers.layouts import MANIFEST, Made, digest
from tests.helpers.registries import Handler, basic, own_registry
from tests.helpers.wait import until

# Large enough for many pieces, and not compressible.
_LARGE = random.Random(1).randbytes(3 << 20)


@pytest.fixture
def made() -> tuple[Made, dict[str, str]]:
    """Return an image of three layers, one of which is large, and its tag."""
    from io import BytesIO
    from tarfile import open as open_tar

    from tests.helpers.images import add

    data = BytesIO()
    with open_tar(fileobj=data, mode="w") as tar:
        add(tar, "large", _LARGE)
    images = Made()
    descriptor = images.image(layer_bytes(1), data.getvalue(), layer_bytes(3))
    return images, {"1": descriptor["digest"]}


def _is_blob(handler: Handler) -> bool:
    return handler.blob() is not None


def _cut(handler: Handler) -> bool:
    """Send the first part of what is asked for, and hang up."""
    data = handler.blob()
    if data is None or len(data) < 1 << 20:
        return False
    start = handler.range_start()
    handler.send_response(206 if start else 200)
    handler.send_header("Content-Length", str(len(data) - start))
    if start:
        handler.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
    handler.end_headers()
    handler.wfile.write(data[start : start + 700_000])
    handler.close_connection = True
    return True


def _ignore_ranges(handler: Handler) -> bool:
    """Cut the first answer off, and answer every range with all of it."""
    data = handler.blob()
    if data is None or len(data) < 1 << 20:
        return False
    if handler.range_start() == 0:
        return _cut(handler)
    handler.answer(200, data)
    return True


def _sometimes(status: int) -> Callable[[Handler], bool]:
    """Fail each path once."""
    failed: set[str] = set()

    def trick(handler: Handler) -> bool:
        if handler.path in failed or handler.path == "/v2/":
            return False
        failed.add(handler.path)
        more = {"Retry_After": "0"} if status == 429 else {}
        handler.answer(status, b"not now", "text/plain", **more)
        return True

    return trick


@pytest.mark.parametrize(
    "trick",
    [_cut, _ignore_ranges, _sometimes(429), _sometimes(500), _sometimes(503)],
    ids=["cut", "no-ranges", "429", "500", "503"],
)
def test_what_passes_is_survived(
    lamina: Lamina, made: tuple[Made, dict[str, str]], trick: Callable[[Handler], bool]
) -> None:
    with own_registry(*made, trick) as (host, state):
        lamina("pull", f"{host}/a/b:1")
        # What had arrived before a connection broke is not fetched again.
        asked = [request for request in state.requests if "Range" in request.headers]
        assert bool(asked) == (trick in (_cut, _ignore_ranges))
    lamina("store", "check")


def _lie_about_content(handler: Handler) -> bool:
    data = handler.blob()
    if data is None:
        return False
    handler.answer(200, bytes(len(data)))
    return True


def _send_too_much(handler: Handler) -> bool:
    data = handler.blob()
    if data is None:
        return False
    handler.answer(200, data + b"more")
    return True


def _send_too_little(handler: Handler) -> bool:
    data = handler.blob()
    if data is None:
        return False
    if handler.range_start():
        handler.answer(416, b"")
    else:
        handler.answer(200, data[:-1])
    return True


def _wrong_range(handler: Handler) -> bool:
    if handler.range_start():
        data = handler.blob() or b""
        handler.answer(206, data[-100:], Content_Range=f"bytes {len(data) - 100}-{len(data) - 1}/{len(data)}")
        return True
    return _cut(handler)


def _other_manifest(handler: Handler) -> bool:
    if "/manifests/sha256:" not in handler.path:
        return False
    handler.answer(200, b"{}", "application/vnd.oci.image.manifest.v1+json")
    return True


def _huge_manifest(handler: Handler) -> bool:
    if "/manifests/" not in handler.path:
        return False
    handler.answer(200, b" " * (5 << 20), "application/vnd.oci.image.manifest.v1+json")
    return True


def _no_manifest(handler: Handler) -> bool:
    if "/manifests/" not in handler.path:
        return False
    handler.answer(200, b"<html>", "text/html")
    return True


def _always_busy(handler: Handler) -> bool:
    if not _is_blob(handler):
        return False
    handler.answer(503, b"", Retry_After="0")
    return True


def _for_ever_elsewhere(handler: Handler) -> bool:
    if "/manifests/" not in handler.path:
        return False
    handler.answer(307, b"", Location=handler.path)
    return True


def _to_a_file(handler: Handler) -> bool:
    if "/manifests/" not in handler.path:
        return False
    handler.answer(307, b"", Location="file:///etc/passwd")
    return True


@pytest.mark.parametrize(
    ("trick", "said"),
    [
        (_lie_about_content, "its content is sha256:"),
        (_send_too_much, "longer than"),
        (_send_too_little, "416"),
        (_wrong_range, "another range"),
        (_huge_manifest, "larger than"),
        (_no_manifest, "not JSON"),
        (_always_busy, "503"),
        (_for_ever_elsewhere, "redirects more than"),
        (_to_a_file, "not HTTP"),
    ],
)
def test_what_is_wrong_is_told_and_leaves_nothing(
    lamina: Lamina, made: tuple[Made, dict[str, str]], trick: Callable[[Handler], bool], said: str
) -> None:
    with own_registry(*made, trick) as (host, _):
        done = lamina("pull", f"{host}/a/b:1", status=125)
    first, *rest = [line for line in done.stderr.splitlines() if not line.startswith("lamina: pull ")]
    assert first.startswith("lamina: cannot ") and said in first and len(rest) <= 1
    # Layers that did arrive whole stay until the next attempt, or the next prune.
    for place in ("images", "staging", "refs"):
        assert not list((lamina.store / place).iterdir()), place
    lamina("store", "check")
    lamina("prune", "--force")
    for place in ("blobs/sha256", "layers"):
        assert not list((lamina.store / place).iterdir()), place


def test_a_manifest_by_digest_must_have_it(lamina: Lamina, made: tuple[Made, dict[str, str]]) -> None:
    with own_registry(*made, _other_manifest) as (host, _):
        done = lamina("pull", f"{host}/a/b@{made[1]['1']}", status=125)
    assert "its digest is sha256:" in done.stderr


def _wanting(header: str, *, realm: str = "") -> Callable[[Handler], bool]:
    """Want a header of everybody, by a token server (at `realm`) or basic authentication."""

    def trick(handler: Handler) -> bool:
        if handler.headers.get("Authorization") == header:
            return False
        challenge = f'Bearer realm="{realm}",service="tests",scope="x"' if realm else 'Basic realm="tests"'
        handler.answer(401, b"", WWW_Authenticate=challenge)
        return True

    return trick


def _config(path: Path, host: str) -> dict[str, str]:
    auths = {"auths": {host: {"auth": basic("me", "se:cret").removeprefix("Basic ")}}}
    (path / "auth.json").write_text(json.dumps(auths))
    return {"REGISTRY_AUTH_FILE": str(path / "auth.json")}


def test_a_token_is_got_once_and_used(lamina: Lamina, made: tuple[Made, dict[str, str]], scratch: Path) -> None:
    def give_token(handler: Handler) -> bool:
        if handler.headers.get("Authorization") != basic("me", "se:cret"):
            handler.answer(401, b"")
        else:
            handler.answer(200, b'{"token": "abc"}', "application/json")
        return True

    with own_registry(Made(), {}, give_token) as (tokens, token_state), own_registry(*made) as (host, state):
        state.trick = _wanting("Bearer abc", realm=f"http://{tokens}/token")
        lamina("pull", f"{host}/a/b:1", env=_config(scratch, host))
        assert [request.path for request in token_state.requests] == [
            "/token?service=tests&scope=repository%3Aa%2Fb%3Apull"
        ]
        refused = lamina("pull", f"{host}/a/b:1", status=125)
        assert "wants a name and a password" in refused.stderr and "lamina login" in refused.stderr


def test_secrets_do_not_follow_a_redirect_to_another_host(
    lamina: Lamina, made: tuple[Made, dict[str, str]], scratch: Path
) -> None:
    secret = basic("me", "se:cret")
    with own_registry(*made) as (elsewhere, other), own_registry(*made) as (host, state):
        wanting = _wanting(secret)

        def trick(handler: Handler) -> bool:
            if wanting(handler):
                return True
            if _is_blob(handler):
                handler.answer(307, b"", Location=f"http://{elsewhere}{handler.path}")
                return True
            return False

        state.trick = trick
        lamina("pull", f"{host}/a/b:1", env=_config(scratch, host))
        assert other.requests and not [r for r in other.requests if "Authorization" in r.headers]
        assert [r for r in state.requests if r.headers.get("Authorization") == secret]


def test_a_credential_helper_is_asked(lamina: Lamina, made: tuple[Made, dict[str, str]], scratch: Path) -> None:
    helper = scratch / "bin" / "docker-credential-test"
    helper.parent.mkdir()
    helper.write_text('#!/bin/sh\nread host\necho "{\\"Username\\": \\"me\\", \\"Secret\\": \\"of $host\\"}"\n')
    helper.chmod(0o755)
    with own_registry(*made) as (host, state):
        state.trick = _wanting(basic("me", f"of {host}"))
        (scratch / "auth.json").write_text(json.dumps({"credHelpers": {host: "test"}}))
        path = f"{helper.parent}:{lamina.environment()['PATH']}"
        env = {"REGISTRY_AUTH_FILE": str(scratch / "auth.json"), "PATH": path}
        lamina("pull", f"{host}/a/b:1", env=env)
        (scratch / "auth.json").write_text(json.dumps({"credsStore": "missing"}))
        assert "docker-credential-missing" in lamina("pull", f"{host}/a/b:1", env=env, status=125).stderr


def test_an_upload_goes_on_where_it_broke_off(lamina: Lamina, made: tuple[Made, dict[str, str]], scratch: Path) -> None:
    images, tags = made
    images.list({"mediaType": MANIFEST, "digest": tags["1"], "size": len(images.blobs[tags["1"]])}, "r.test/a/b:1")
    lamina("load", "-i", images.write(scratch / "layout"))
    large = max(images.blobs.values(), key=len)
    sizes = [1 << 20, 1, 700_000]  # how much of it arrives each time, and then the rest
    answers: list[int] = []

    def cut(handler: Handler) -> bool:
        if handler.command != "PATCH" or not sizes:
            return False
        if len(sizes) == 2:  # once the registry says that it is busy, and has nothing more of it
            sizes.pop(0)
            handler.body()
            handler.answer(503, b"")
            return True
        handler.keep_part(sizes.pop(0))
        answers.append(len(handler.state.uploads[handler.path.rpartition("/")[2]]))
        return True

    with own_registry(Made(), {}, cut) as (host, state):
        lamina("push", "r.test/a/b:1", f"{host}/a/b:1")
        assert state.made.blobs[digest(large)] == large
        sent = [request.headers for request in state.requests if request.method == "PATCH"]
    assert answers == [1 << 20, (1 << 20) + 700_000]
    # Each request goes on after what had arrived, and has no more than the rest.
    begun = [int(headers.get("Content-Range", "0-").partition("-")[0]) for headers in sent]
    assert begun == [0, 1 << 20, 1 << 20, (1 << 20) + 700_000]
    assert [int(headers["Content-Length"]) for headers in sent] == [len(large) - start for start in begun]
    assert state.count("POST", "/blobs/uploads/") == len(images.blobs) - 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_pull_that_is_ended_ends(lamina: Lamina, made: tuple[Made, dict[str, str]], number: signal.Signals) -> None:
    gate = threading.Event()

    def stall(handler: Handler) -> bool:
        data = handler.blob()
        if data is None or len(data) < 1 << 20:
            return False
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data[:700_000])
        handler.wfile.flush()
        gate.wait(60)
        return True

    with own_registry(*made, stall) as (host, state):
        large = max(made[0].blobs, key=lambda digest: len(made[0].blobs[digest]))
        argv = [*program(), "pull", f"{host}/a/b:1"]
        # Warnings as a user has them: amid an import, the signal leaves a file of Python's to the collector.
        env = {**lamina.environment(), "PYTHONWARNINGS": ""}
        with subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            until(lambda: state.count("GET", large), "the large layer is asked for")
            process.send_signal(number)
            _, said = process.communicate(timeout=20)
        gate.set()
    assert process.returncode == {signal.SIGTERM: 143, signal.SIGINT: 130}[number], said
    assert b"Traceback" not in said
    assert not list((lamina.store / "staging").iterdir()) and not list((lamina.store / "images").iterdir())
