"""Registries for tests: Debian's docker-registry as a process, and our own, which misbehaves as it is told."""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path

from tests.helpers.layouts import Made
from tests.helpers.tokens import TokenServer
from tests.helpers.wait import until


def free_port() -> int:
    """Return a port of loopback that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def answers(port: int) -> bool:
    """Return whether somebody listens there."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


@dataclass(frozen=True, slots=True)
class Registry:
    """A docker-registry that runs; `host` is what names of images begin with."""

    host: str
    log: Path

    def requests(self, *methods: str) -> list[str]:
        """Return method and path of the requests so far, of these methods."""
        lines = self.log.read_text(errors="replace").splitlines()
        found = [line.split('"')[1] for line in lines if 'HTTP/1.1" ' in line and '"' in line]
        return [line.rpartition(" ")[0] for line in found if line.split(" ")[0] in methods]


@contextmanager
def docker_registry(
    directory: Path, *, users: dict[str, str] | None = None, tokens: TokenServer | None = None, tls: bool = False
) -> Iterator[Registry]:
    """Run a registry for a `with` block; `users` are names and htpasswd(1) hashes, with `tls` cert.pem and key.pem."""
    directory.mkdir(exist_ok=True)
    port = free_port()
    lines = [
        "version: 0.1",
        "log: {level: info, accesslog: {disabled: false}}",
        f"storage: {{filesystem: {{rootdirectory: {directory}/data}}}}",
        f"http: {{addr: 127.0.0.1:{port}"
        + (f", tls: {{certificate: {directory}/cert.pem, key: {directory}/key.pem}}" if tls else "")
        + "}",
    ]
    if users:
        (directory / "htpasswd").write_text("".join(f"{name}:{hashed}\n" for name, hashed in users.items()))
        lines.append(f"auth: {{htpasswd: {{realm: tests, path: {directory}/htpasswd}}}}")
    if tokens:
        lines.append(tokens.settings())
    (directory / "config.yml").write_text("\n".join(lines) + "\n")
    log = directory / "log"
    with (
        log.open("wb") as out,
        subprocess.Popen(
            ["docker-registry", "serve", str(directory / "config.yml")], stdout=out, stderr=out
        ) as process,
    ):
        try:
            until(lambda: answers(port), "docker-registry answers")
            yield Registry(f"127.0.0.1:{port}", log)
        finally:
            process.terminate()


@dataclass(slots=True)
class Request:
    """What a client sent."""

    method: str
    path: str
    headers: dict[str, str]


#: Answers one request in an unusual way and returns True, or leaves it to the server.
Trick = Callable[["Handler"], bool]


@dataclass(slots=True)
class State:
    """The images that a server of our own has, what it was asked, and what it does wrong."""

    made: Made
    tags: dict[str, str] = field(default_factory=dict)  # by tag, the digest of a manifest
    trick: Trick | None = None
    requests: list[Request] = field(default_factory=list)
    uploads: dict[str, bytearray] = field(default_factory=dict)  # by their names, what has arrived
    numbers: Iterator[int] = field(default_factory=count)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, method: str, part: str) -> int:
        """Return how many requests of this kind came."""
        with self.lock:
            return sum(request.method == method and part in request.path for request in self.requests)


class Handler(BaseHTTPRequestHandler):
    """Serves manifests and blobs of one repository, takes uploads, and answers for referrers."""

    protocol_version = "HTTP/1.1"
    state: State

    def do_GET(self) -> None:
        self._serve(with_body=True)

    def do_HEAD(self) -> None:
        self._serve(with_body=False)

    def do_POST(self) -> None:
        if not self._tricked():
            self.body()
            name = f"u{next(self.state.numbers)}"
            self.state.uploads[name] = bytearray()
            self.answer(202, b"", Location=f"{self.path.partition('?')[0]}{name}")

    def do_PATCH(self) -> None:
        if not self._tricked():
            kept = self.state.uploads[self._upload()]
            start = int(self.headers.get("Content-Range", "0-").partition("-")[0])
            data = self.body()
            if start == len(kept):
                kept += data
                self.answer(202, b"", Location=self.path)
            else:
                self.answer(416, b"", Range=f"0-{len(kept) - 1}")

    def keep_part(self, size: int) -> None:
        """Take the first `size` bytes of what an upload sends, and hang up."""
        self.state.uploads[self._upload()] += self.rfile.read(size)
        self.close_connection = True

    def do_PUT(self) -> None:
        if self._tricked():
            return
        data = self.body()
        name = self.path.rpartition("/")[2]
        if "/manifests/" in self.path:
            self.state.tags[name] = sha256(data)
            subject = json.loads(data).get("subject")
            self._keep(data, {"OCI-Subject": subject["digest"]} if subject else {})
        else:
            self._keep(bytes(self.state.uploads.pop(self._upload()) + data), {})

    def body(self) -> bytes:
        """Read what the client sends."""
        return self.rfile.read(int(self.headers.get("Content-Length", "0")))

    def _upload(self) -> str:
        return self.path.partition("?")[0].rpartition("/")[2]

    def _keep(self, data: bytes, headers: dict[str, str]) -> None:
        self.state.made.blobs[sha256(data)] = data
        self.answer(201, b"", **headers)

    def _tricked(self) -> bool:
        state = self.state
        with state.lock:
            state.requests.append(Request(self.command, self.path, dict(self.headers)))
        return state.trick is not None and state.trick(self)

    def _serve(self, *, with_body: bool) -> None:
        if self._tricked():
            return
        if (kept := self.state.uploads.get(self._upload())) is not None:
            self.answer(204, b"", Range=f"0-{max(len(kept) - 1, 0)}", Location=self.path)
            return
        data, kind = self._find()
        if data is None:
            said = json.dumps({"errors": [{"code": "UNKNOWN", "message": "not here"}]}).encode()
            self.answer(404, said if with_body else b"", kind)
            return
        start = self.range_start()
        if start:
            span = {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}
            self.answer(206, data[start:], kind, **span)
        else:
            self.answer(200, data if with_body else b"", kind)

    def range_start(self) -> int:
        """Return where the range begins that was asked for, 0 for all."""
        return int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0])

    def blob(self) -> bytes | None:
        """Return the blob that was asked for, None for another request."""
        parts = self.path.split("/")
        return self.state.made.blobs.get(parts[-1]) if "/blobs/" in self.path else None

    def _find(self) -> tuple[bytes | None, str]:
        name = self.path.rpartition("/")[2]
        if self.path == "/v2/":
            return b"{}", "application/json"
        if "/referrers/" in self.path:
            return self._referrers(name.partition("?")[0]), "application/vnd.oci.image.index.v1+json"
        if "/blobs/uploads/" in self.path:
            return None, "application/json"
        if "/manifests/" in self.path:
            data = self.state.made.blobs.get(self.state.tags.get(name, name))
            return data, json.loads(data).get("mediaType", "") if data else "application/json"
        return self.blob(), "application/octet-stream"

    def _referrers(self, subject: str) -> bytes:
        listed = []
        for digest, data in self.state.made.blobs.items():
            document = json.loads(data) if data.startswith(b"{") else {}
            if document.get("subject", {}).get("digest") == subject:
                kind = document.get("artifactType") or document["config"]["mediaType"]
                entry = {"mediaType": document["mediaType"], "digest": digest, "size": len(data)}
                listed.append({**entry, "artifactType": kind, "annotations": document.get("annotations", {})})
        return json.dumps({"schemaVersion": 2, "manifests": listed}).encode()

    def answer(self, status: int, data: bytes, kind: str = "application/octet-stream", **headers: str) -> None:
        """Send a whole answer."""
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # http.server's name for it
        """Say nothing."""


@contextmanager
def own_registry(made: Made, tags: dict[str, str], trick: Trick | None = None) -> Iterator[tuple[str, State]]:
    """Serve images for a `with` block; yield the host, and what can be told and asked of the server."""
    state = State(made, tags, trick)
    handler = type("Bound", (Handler,), {"state": state})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = False
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_address[1]}", state
        finally:
            server.shutdown()
            thread.join()


def basic(name: str, password: str) -> str:
    """Return the value of an Authorization header."""
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


def sha256(data: bytes) -> str:
    """Return the digest of some bytes."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
