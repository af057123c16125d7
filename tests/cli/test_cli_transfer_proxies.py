"""pull and push through the proxies that HTTP_PROXY and HTTPS_PROXY name, to a registry of no real name.

Who is asked without one is in tests/unit/test_transfer_http.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.command import Lamina
from tests.helpers.images import facts, rootfs_archive
from tests.helpers.proxies import Proxy, proxy_server
from tests.helpers.registries import Registry, docker_registry
from tests.helpers.tokens import make_certificate

pytestmark = pytest.mark.requires("docker-registry", "openssl")

_NAME = "registry.test"
_IMAGE = f"{_NAME}/a/b:1"


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with proxy_server() as running:
        yield running


def _make_image(lamina: Lamina, scratch: Path) -> str:
    lamina("import", rootfs_archive(scratch / "rootfs.tar"), _IMAGE)
    return _IMAGE


@pytest.fixture
def registry(proxy: Proxy, scratch: Path) -> Iterator[Registry]:
    """Return a registry with TLS to which the proxy leads, and whose certificate $HOME trusts."""
    folder = scratch / "registry"
    make_certificate(folder, _NAME)
    trusted = scratch / ".config/containers/certs.d" / _NAME
    trusted.mkdir(parents=True)
    (trusted / "ca.crt").write_bytes((folder / "cert.pem").read_bytes())
    with docker_registry(folder, tls=True) as running:
        proxy.routes[f"{_NAME}:443"] = running.host
        yield running


@pytest.mark.parametrize("variable", ["HTTPS_PROXY=", "https_proxy=http://"])
def test_tls_goes_through_a_tunnel(
    lamina: Lamina, other: Lamina, registry: Registry, proxy: Proxy, scratch: Path, *, variable: str
) -> None:
    image = _make_image(lamina, scratch)
    name, _, scheme = variable.partition("=")
    env = {"HOME": str(scratch), name: scheme + proxy.address, "HTTP_PROXY": "127.0.0.1:1"}
    lamina("push", image, env=env)
    other("pull", image, env=env)
    assert facts(other, image) == facts(lamina, image)
    assert set(proxy.requests) == {("CONNECT", f"{_NAME}:443")}
    assert registry.requests("PUT") and registry.requests("GET")


def test_what_is_not_tls_goes_through_the_other_proxy(
    lamina: Lamina, other: Lamina, proxy: Proxy, scratch: Path
) -> None:
    image = _make_image(lamina, scratch)
    proxy.login = ("me", "secret")
    (scratch / "registries.conf").write_text(f'[[registry]]\nlocation = "{_NAME}"\ninsecure = true\n')
    env = {"CONTAINERS_REGISTRIES_CONF": str(scratch / "registries.conf")}
    env |= dict.fromkeys(("http_proxy", "https_proxy"), f"http://me:secret@{proxy.address}")
    with docker_registry(scratch / "registry") as registry:
        proxy.routes[_NAME] = registry.host
        lamina("push", image, env=env)
        other("pull", _IMAGE, env=env)
    assert facts(other, _IMAGE) == facts(lamina, image)
    assert f"http://{_NAME}/v2/a/b/manifests/1" in proxy.targets("PUT") and proxy.targets("GET")


def test_a_proxy_gets_the_password_that_its_address_has(
    lamina: Lamina, registry: Registry, proxy: Proxy, scratch: Path
) -> None:
    image = _make_image(lamina, scratch)
    proxy.login = ("me", "pass:w@rd")
    env = {"HOME": str(scratch), "HTTPS_PROXY": f"http://me:pass%3Aw%40rd@{proxy.address}"}
    lamina("push", image, env=env)
    assert registry.requests("PUT")
    wrong = lamina("pull", _IMAGE, env={**env, "HTTPS_PROXY": f"http://me:secret@{proxy.address}"}, status=125)
    assert "the proxy refuses" in wrong.stderr and "407" in wrong.stderr and "secret" not in wrong.stderr


def test_this_machine_is_asked_directly(lamina: Lamina, proxy: Proxy, scratch: Path) -> None:
    image = _make_image(lamina, scratch)
    env = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY"), proxy.address)
    with docker_registry(scratch / "registry") as registry:
        lamina("push", image, f"{registry.host}/a/b:1", env=env)
    assert not proxy.requests
