"""A token server for a docker-registry (distribution's "Token Authentication Specification"), which notes who asked."""

from __future__ import annotations

import base64
import json
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

SERVICE = "tests.registry"
ISSUER = "tests"
#: How long docker-registry goes on believing a token that has expired, in seconds.
LEEWAY = 60


@dataclass(frozen=True, slots=True)
class Asked:
    """A request for a token: by whom ("" for nobody), how, and for what."""

    method: str
    who: str
    scopes: tuple[str, ...]


@dataclass(slots=True)
class TokenServer:
    """A running server. Who has no password may pull from what is `public`."""

    realm: str
    certificate: Path
    key: Path
    users: Mapping[str, str]
    refresh: Mapping[str, str]  # users by their refresh tokens
    public: tuple[str, ...]
    expired: int = 0  # how many of the next tokens are too old to be of use
    asked: list[Asked] = field(default_factory=list)

    def settings(self) -> str:
        """Return what a registry's config.yml has to say about this server."""
        return (
            f"auth: {{token: {{realm: '{self.realm}', service: {SERVICE}, issuer: {ISSUER},"
            f" rootcertbundle: {self.certificate}}}}}"
        )

    def token(self, who: str, scopes: tuple[str, ...]) -> str:
        """Return a signed token for what `who` may do of what was asked for."""
        now = int(time.time())
        late = 2 * LEEWAY if self.expired else 0
        self.expired -= bool(self.expired)
        claims = {
            "iss": ISSUER, "aud": SERVICE, "sub": who, "jti": str(len(self.asked)), "iat": now - late - 10,
            "nbf": now - late - 10, "exp": now - late + 300,
            "access": [access for scope in scopes if (access := self._access(who, scope))],
        }  # fmt: skip
        if late:
            claims["exp"] = now - late
        der = ssl.PEM_cert_to_DER_cert(self.certificate.read_text())
        head = {"typ": "JWT", "alg": "RS256", "x5c": [base64.b64encode(der).decode()]}
        signed = f"{_encoded(json.dumps(head).encode())}.{_encoded(json.dumps(claims).encode())}"
        sign = ["openssl", "dgst", "-sha256", "-sign", str(self.key)]
        signature = subprocess.run(sign, input=signed.encode(), check=True, capture_output=True).stdout
        return f"{signed}.{_encoded(signature)}"

    def _access(self, who: str, scope: str) -> dict[str, object] | None:
        kind, name, actions = scope.split(":")
        allowed = [action for action in actions.split(",") if who or (name in self.public and action == "pull")]
        return {"type": kind, "name": name, "actions": allowed} if allowed else None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_state: TokenServer

    def do_GET(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        header = self.headers.get("Authorization", "")
        name, _, password = base64.b64decode(header.removeprefix("Basic ")).decode().partition(":")
        self._answer(query, name, accepted=not header or self.server_state.users.get(name) == password)

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        form["scope"] = form.get("scope", [""])[0].split()
        name = self.server_state.refresh.get(form.get("refresh_token", [""])[0], "")
        self._answer(form, name, accepted=bool(name) and form.get("grant_type") == ["refresh_token"])

    def _answer(self, form: dict[str, list[str]], name: str, *, accepted: bool) -> None:
        state = self.server_state
        scopes = tuple(form.get("scope", []))
        state.asked.append(Asked(self.command, name, scopes))
        if form.get("service") != [SERVICE]:
            status, answer = 400, {"details": "another service"}
        elif not accepted:
            status, answer = 401, {"details": "who are you?"}
        else:
            status, answer = 200, {"access_token" if self.command == "POST" else "token": state.token(name, scopes)}
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # http.server's name for it
        """Say nothing."""


def make_certificate(directory: Path, name: str = "localhost") -> None:
    """Write cert.pem and key.pem for 127.0.0.1 and `name`, signed by nobody."""
    directory.mkdir(exist_ok=True)
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=tests", "-addext",
         f"subjectAltName=IP:127.0.0.1,DNS:{name}", "-keyout", directory / "key.pem", "-out", directory / "cert.pem"],
        check=True, capture_output=True,
    )  # fmt: skip


@contextmanager
def token_server(
    directory: Path,
    *,
    users: Mapping[str, str],
    refresh: Mapping[str, str] | None = None,
    public: tuple[str, ...] = (),
    tls: bool = False,
) -> Iterator[TokenServer]:
    """Run a token server for a `with` block, with cert.pem and key.pem of `directory` for its tokens and for TLS."""

    class Bound(_Handler):
        pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Bound) as server:
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(directory / "cert.pem", directory / "key.pem")
            server.socket = context.wrap_socket(server.socket, server_side=True)
        realm = f"http{'s' * tls}://127.0.0.1:{server.server_address[1]}/token"
        certificate, key = directory / "cert.pem", directory / "key.pem"
        state = TokenServer(realm, certificate, key, users, refresh or {}, public)
        Bound.server_state = state
        server.daemon_threads = False
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield state
        finally:
            server.shutdown()
            thread.join()


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
