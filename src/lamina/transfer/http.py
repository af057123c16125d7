"""HTTP as registries speak it: one request with its redirects and retries, through urllib3.

What is secret goes to the host that it was meant for: a redirect to another one loses the Authorization header. Names
of hosts in errors come without user, password or query.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from threading import Lock
from urllib.parse import unquote, urljoin, urlsplit
from weakref import WeakSet

import urllib3
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    InsecureRequestWarning,
    LocationValueError,
    NameResolutionError,
    NewConnectionError,
    ProtocolError,
    ProxyError,
    ProxySchemeUnknown,
    ReadTimeoutError,
    SSLError,
)

from lamina.errors import InvalidInput, LaminaError

Response = urllib3.BaseHTTPResponse
#: Makes a request's body anew for each attempt.
Body = Callable[[], Iterable[bytes] | bytes]

_TIMEOUT = urllib3.Timeout(connect=10.0, read=60.0)
_ATTEMPTS = 5
_FIRST_PAUSE = 0.1  # seconds; doubled each time
_LONGEST_PAUSE = 30.0
_REDIRECTS = 10
_AGAIN = frozenset({429, 500, 502, 503, 504})
_MOVED = frozenset({301, 302, 303, 307, 308})
_CONNECTIONS = 8
_MAX_UNWANTED = 1 << 16


@dataclass(frozen=True, slots=True)
class Trust:
    """What is believed of a host: without `verify` any certificate. `authorities` and client files are paths."""

    verify: bool = True
    authorities: tuple[str, ...] = ()
    client: tuple[tuple[str, str], ...] = ()  # certificate, key


class Unreachable(LaminaError):
    """No answer came from the host. `insecure_might_help`: it does not speak TLS, or nobody listens where TLS does."""

    def __init__(self, url: str, reason: object, *, insecure_might_help: bool = False) -> None:
        super().__init__("reach", host_of(url), reason)
        self.insecure_might_help = insecure_might_help


class Http:
    """Connections to any number of hosts, to be used by any number of threads.

    `environ` tells the proxies. Use as a context manager; leaving it closes the connections.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._proxies = _proxies(environ)
        self._pools: dict[tuple[Trust, str], urllib3.PoolManager] = {}
        self._lock = Lock()
        self._stopped = False
        self._answers: WeakSet[Response] = WeakSet()

    def __enter__(self) -> Http:
        return self

    def __exit__(self, *_: object) -> None:
        for manager in self._pools.values():
            # `clear` alone closes what nothing refers to, and an error that was met on a connection refers to it.
            for host in manager.pools.keys():  # noqa: SIM118  # it is no mapping that can be iterated
                manager.pools[host].close()
            manager.clear()

    def stop(self) -> None:
        """Break off what other threads are reading, and ask nothing more."""
        self._stopped = True
        with self._lock:
            answers = list(self._answers)
        for answer in answers:
            try:
                answer.shutdown()
            except (ValueError, RuntimeError, OSError):  # read to its end meanwhile
                continue

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        trust: Trust,
        body: Body | None = None,
        retry: bool = True,
    ) -> Response:
        """Return the answer, whose content is not read yet: read it all, or `drain` it.

        Redirects are followed. What may be over soon, a busy or failing server and connections that break, is tried
        again (with `retry`), after what the server asks for or a growing pause. Raises Unreachable.
        """
        sent = {"User-Agent": "lamina", "Accept-Encoding": "identity", **headers}
        origin = _origin(url)
        for _ in range(_REDIRECTS):
            if _origin(url) != origin:
                sent.pop("Authorization", None)
            response = self._attempts(method, url, sent, trust=trust, body=body, retry=retry)
            location = response.headers.get("Location")
            if response.status not in _MOVED or not location:
                return response
            drain(response)
            url = urljoin(url, location)
            if urlsplit(url).scheme not in ("http", "https"):
                raise Unreachable(url, "it redirects to something that is not HTTP")
        raise Unreachable(url, f"it redirects more than {_REDIRECTS} times")

    def _attempts(
        self, method: str, url: str, headers: Mapping[str, str], *, trust: Trust, body: Body | None, retry: bool
    ) -> Response:
        attempts = _ATTEMPTS if retry else 1
        for attempt in range(1, attempts + 1):
            if self._stopped:
                raise Unreachable(url, "it is not wanted any more")
            try:
                response = self._pool(url, trust).urlopen(
                    method,
                    url,
                    body=body() if body else None,
                    headers=dict(headers),
                    redirect=False,
                    retries=False,
                    timeout=_TIMEOUT,
                    preload_content=False,
                    decode_content=False,
                )
            except HTTPError as error:
                if attempt == attempts or not is_passing(error):
                    raise unreachable(url, error) from error
                pause(attempt)
                continue
            if response.status not in _AGAIN or attempt == attempts:
                with self._lock:
                    self._answers.add(response)
                return response
            wanted = response.headers.get("Retry-After", "")
            drain(response)
            pause(attempt, float(wanted) if wanted.isascii() and wanted.isdigit() else 0.0)
        raise AssertionError("unreachable")

    def _pool(self, url: str, trust: Trust) -> urllib3.PoolManager:
        parts = urlsplit(url)
        proxy = self._proxies.get(parts.scheme, "")
        if proxy and _bypasses(parts.hostname or "", parts.netloc, self._proxies):
            proxy = ""
        with self._lock:
            if (trust, proxy) not in self._pools:
                self._pools[trust, proxy] = _new_pool(trust, proxy)
            return self._pools[trust, proxy]


def _new_pool(trust: Trust, proxy: str) -> urllib3.PoolManager:
    context = ssl.create_default_context()
    for path in trust.authorities:
        context.load_verify_locations(path)
    for certificate, key in trust.client:
        context.load_cert_chain(certificate, key)
    if not trust.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        urllib3.disable_warnings(InsecureRequestWarning)  # the person is told by us
    if not proxy:
        return urllib3.PoolManager(ssl_context=context, maxsize=_CONNECTIONS)
    # urllib3 passes over what the address says of a user.
    user, at, _ = urlsplit(proxy).netloc.rpartition("@")
    headers = urllib3.make_headers(proxy_basic_auth=unquote(user)) if at else None
    try:
        return urllib3.ProxyManager(proxy, proxy_headers=headers, ssl_context=context, maxsize=_CONNECTIONS)
    except (LocationValueError, ProxySchemeUnknown) as error:
        raise InvalidInput("use", "the proxy", f"{_without_user(proxy)} is no address of an HTTP proxy") from error


def read_all(response: Response, most: int, what: str) -> bytes:
    """Return the content, of at most `most` bytes; LaminaError naming `what` where it is larger or breaks off."""
    try:
        data = response.read(most + 1)
    except HTTPError as error:
        raise LaminaError("read", what, reason_of(error)) from error
    finally:
        finish(response)
    if len(data) > most:
        raise LaminaError("read", what, f"it is larger than {most} bytes")
    return data


def drain(response: Response) -> None:
    """Read the rest of a small answer that nobody wants, so that its connection can be used again, and `finish`."""
    try:
        response.read(_MAX_UNWANTED)
    except HTTPError:
        pass
    finish(response)


def finish(response: Response) -> None:
    """Give the connection back, or close it if there is more to read."""
    response.close()  # an answer that was read to its end has no connection any more
    response.release_conn()


def pause(attempt: int, wanted: float = 0.0) -> None:
    """Wait before attempt number `attempt` + 1: what the server wants, within reason, or longer each time."""
    time.sleep(min(max(wanted, _FIRST_PAUSE * 2 ** (attempt - 1)), _LONGEST_PAUSE))


def is_passing(error: HTTPError) -> bool:
    """Tell whether another attempt may succeed: the connection broke, where one could be made."""
    if isinstance(error, NewConnectionError | ConnectTimeoutError | ProxyError | SSLError):
        return False
    return isinstance(error, ProtocolError | ReadTimeoutError)


def unreachable(url: str, error: HTTPError) -> Unreachable:
    """Return our error for urllib3's."""
    no_tls = isinstance(error, SSLError) and "certificate" not in str(error).lower()
    nobody = isinstance(error, NewConnectionError) and not isinstance(error, NameResolutionError)
    # A server that takes TLS's first message for a bad request may also just hang up.
    cut = isinstance(error, ProtocolError) and url.startswith("https:")
    # A proxy may make tunnels to port 443 alone, or to none.
    no_tunnel = isinstance(error, ProxyError)
    return Unreachable(url, reason_of(error), insecure_might_help=no_tls or nobody or cut or no_tunnel)


def reason_of(error: BaseException) -> str:
    """Return what happened, in the system's own words where there are some."""
    if isinstance(error, NameResolutionError):
        return "its name cannot be resolved"
    refused = isinstance(error, NewConnectionError)  # which urllib3 counts among the timeouts
    if isinstance(error, ConnectTimeoutError | ReadTimeoutError) and not refused:
        return "it does not answer"
    if isinstance(error, ProxyError):
        return f"the proxy refuses: {reason_of(error.original_error)}"
    if isinstance(error, SSLError) and error.args and isinstance(error.args[0], ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.args[0].verify_message}"
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.strerror:
            return seen.strerror
        seen = seen.__cause__ or seen.__context__
    return str(error) or type(error).__name__


def host_of(url: str) -> str:
    """Return host and port of an address, without user and password."""
    return urlsplit(url).netloc.rpartition("@")[2]


def _without_user(address: str) -> str:
    scheme, mark, rest = address.rpartition("://")
    return scheme + mark + rest.rpartition("@")[2]


def _origin(url: str) -> tuple[str, str]:
    return urlsplit(url).scheme, host_of(url).lower()


def _proxies(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the proxies that the usual variables name, by scheme, and under "no" the hosts without one."""
    found = {}
    for scheme in ("http", "https", "no"):
        name = f"{scheme}_proxy"
        value = environ.get(name) or (environ.get(name.upper()) or "")
        if value:
            found[scheme] = value if scheme == "no" or "://" in value else f"http://{value}"
    return found


def _bypasses(host: str, netloc: str, proxies: dict[str, str]) -> bool:
    """Tell whether NO_PROXY names the host: itself or a domain that it is in, with or without a port, its network, `*`.

    The rules are those of Go's programs, and so docker's and podman's.
    """
    if is_loopback(host):
        return True
    for pattern in proxies.get("no", "").split(","):
        known = pattern.strip().lower().removeprefix("*").lstrip(".")
        if pattern.strip() == "*" or (known and any(f".{name}".endswith(f".{known}") for name in (host, netloc))):
            return True
        if "/" in known and _is_in_network(host, known):
            return True
    return False


def _is_in_network(host: str, network: str) -> bool:
    try:
        return ip_address(host) in ip_network(network, strict=False)
    except ValueError:
        return False


def is_loopback(host: str) -> bool:
    """Tell whether the host, without a port, is this machine."""
    return host == "localhost" or host.endswith(".localhost") or host.startswith("127.") or host in ("::1", "[::1]")
