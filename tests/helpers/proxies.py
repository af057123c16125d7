"""A proxy on loopback for tests, which leads names that exist nowhere else to servers of the test."""

from __future__ import annotations

import http.client
import selectors
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from tests.helpers.registries import basic

_HOP = frozenset({"connection", "keep-alive", "proxy-authorization", "proxy-connection", "transfer-encoding"})


@dataclass(slots=True)
class Proxy:
    """What is known to a proxy: by name and port, the address that is meant. `login` is the name and password it wants.

    `requests` are the method and the target of what was asked, `authorizations` what came with it.
    """

    address: str = ""
    routes: dict[str, str] = field(default_factory=dict)
    login: tuple[str, str] | None = None
    requests: list[tuple[str, str]] = field(default_factory=list)
    authorizations: list[str] = field(default_factory=list)

    def targets(self, method: str) -> list[str]:
        """Return the targets of the requests of one method."""
        return [target for asked, target in self.requests if asked == method]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: Proxy

    def do_CONNECT(self) -> None:
        if (address := self._route(self.path)) is None:
            return
        self.close_connection = True
        host, _, port = address.partition(":")
        with socket.create_connection((host, int(port))) as there:
            self.send_response(200)
            self.end_headers()
            _relay(self.connection, there)

    def do_GET(self) -> None:
        self._pass_on()

    def do_HEAD(self) -> None:
        self._pass_on()

    def do_POST(self) -> None:
        self._pass_on()

    def do_PUT(self) -> None:
        self._pass_on()

    def do_PATCH(self) -> None:
        self._pass_on()

    def _pass_on(self) -> None:
        parts = urlsplit(self.path)
        if (address := self._route(parts.netloc)) is None:
            return
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP}
        there = http.client.HTTPConnection(address)
        try:
            path = parts.path + (f"?{parts.query}" if parts.query else "")
            there.request(self.command, path, body, headers)
            answer = there.getresponse()
            data = answer.read()
        finally:
            there.close()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in _HOP | {"content-length"}:
                self.send_header(name, value)
        length = answer.headers.get("Content-Length", str(len(data))) if self.command == "HEAD" else str(len(data))
        self.send_header("Content-Length", length)
        self.end_headers()
        self.wfile.write(data)

    def _route(self, target: str) -> str | None:
        """Return where the target is; where it is not known, or the password is wrong, that is the answer."""
        proxy = self.proxy
        given = self.headers.get("Proxy-Authorization", "")
        proxy.requests.append((self.command, self.path))
        proxy.authorizations.append(given)
        address = proxy.routes.get(target)
        status = 407 if proxy.login and given != basic(*proxy.login) else 502 if address is None else 0
        if not status:
            return address
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()
        return None

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # http.server's name for it
        """Say nothing."""


def _relay(one: socket.socket, other: socket.socket) -> None:
    """Pass on what each side says until one of them ends."""
    with selectors.DefaultSelector() as selector:
        selector.register(one, selectors.EVENT_READ, other)
        selector.register(other, selectors.EVENT_READ, one)
        while True:
            for key, _ in selector.select():
                assert isinstance(key.fileobj, socket.socket)
                data = key.fileobj.recv(1 << 16)
                if not data:
                    return
                key.data.sendall(data)


@contextmanager
def proxy_server() -> Iterator[Proxy]:
    """Run a proxy for a `with` block."""
    proxy = Proxy()
    with ThreadingHTTPServer(("127.0.0.1", 0), type("_Own", (_Handler,), {"proxy": proxy})) as server:
        server.daemon_threads = False
        proxy.address = f"127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield proxy
        finally:
            server.shutdown()
            thread.join()
