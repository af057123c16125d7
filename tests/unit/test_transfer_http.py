"""Who is asked through a proxy, and who is not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lamina.errors import InvalidInput
from lamina.transfer.http import Http, Trust, Unreachable
from tests.helpers.proxies import Proxy, proxy_server

_HOST = "registry.test"  # a name that nobody has (RFC 6761)


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with proxy_server() as running:
        yield running


def _ask(url: str, **environ: str) -> str:
    """Ask, and return why there was no answer."""
    with Http(environ) as connections, pytest.raises(Unreachable) as raised:
        connections.request("GET", url, headers={}, trust=Trust())
    return str(raised.value)


@pytest.mark.parametrize(
    "exceptions", [_HOST, "test", ".test", "*.test", f"other.example, {_HOST}", "*", _HOST.upper()]
)
def test_who_is_excepted_is_asked_directly(proxy: Proxy, exceptions: str) -> None:
    said = _ask(f"https://{_HOST}/v2/", HTTPS_PROXY=proxy.address, NO_PROXY=exceptions)
    assert "cannot be resolved" in said and not proxy.requests


@pytest.mark.parametrize("exceptions", ["", "registry.tes", "gistry.test", "other.registry.test", "10.0.0.0/8"])
def test_who_is_not_excepted_is_asked_through_the_proxy(proxy: Proxy, exceptions: str) -> None:
    said = _ask(f"https://{_HOST}/v2/", HTTPS_PROXY=proxy.address, NO_PROXY=exceptions)
    assert "the proxy refuses" in said and "502" in said
    assert proxy.targets("CONNECT") == [f"{_HOST}:443"]


@pytest.mark.parametrize("exceptions", ["0.0.0.0/31", "10.0.0.0/8,0.0.0.0", "0.0.0.0:1"])
def test_an_address_and_a_network_are_excepted(proxy: Proxy, exceptions: str) -> None:
    _ask("https://0.0.0.0:1/v2/", HTTPS_PROXY=proxy.address, NO_PROXY=exceptions)  # where nobody listens
    assert not proxy.requests


@pytest.mark.parametrize("exceptions", ["1.0.0.0/31", "0.0.0.0/40", "0.0.0.0:2"])
def test_an_address_outside_is_not(proxy: Proxy, exceptions: str) -> None:
    _ask("https://0.0.0.0:1/v2/", HTTPS_PROXY=proxy.address, NO_PROXY=exceptions)
    assert proxy.targets("CONNECT") == ["0.0.0.0:1"]


@pytest.mark.parametrize("address", ["socks5://me:secret@127.0.0.1:1", "ftp://me:secret@127.0.0.1:1"])
def test_what_is_no_proxy_is_told(address: str) -> None:
    with Http({"HTTPS_PROXY": address}) as connections, pytest.raises(InvalidInput) as raised:
        connections.request("GET", f"https://{_HOST}/", headers={}, trust=Trust())
    assert "is no address of an HTTP proxy" in str(raised.value) and "secret" not in str(raised.value)
