"""A web server on loopback for tests: files with the headers that a test wants, and a log of what was asked."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import BinaryIO


def _nothing() -> None:
    """Do nothing."""


@dataclass(slots=True)
class Page:
    """What one path gives.

    `cut` says after how many bytes the connection breaks, `times` how often. `asked` is called before each answer.
    """

    data: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    status: int = 200
    cut: int | None = None
    times: int = 0
    asked: Callable[[], object] = _nothing


@dataclass(slots=True)
class Site:
    """The pages of a server, by path, and the requests so far: method, path, headers."""

    url: str = ""
    pages: dict[str, Page] = field(default_factory=dict)
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)

    def count(self, path: str) -> int:
        """Return how often a path was asked for."""
        return sum(asked == path for _, asked, _ in self.requests)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    site: Site

    def do_GET(self) -> None:
        self.site.requests.append((self.command, self.path, dict(self.headers)))
        page = self.site.pages.get(self.path, Page(b"not here", status=404))
        page.asked()
        etag = page.headers.get("ETag")
        unchanged = etag is not None and self.headers.get("If-None-Match") == etag
        self.send_response(304 if unchanged else page.status)
        for name, value in page.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0" if unchanged else str(len(page.data)))
        self.end_headers()
        if unchanged:
            return
        if page.cut is not None and page.times > 0:
            page.times -= 1
            self.wfile.write(page.data[: page.cut])
            self.close_connection = True
        else:
            self.wfile.write(page.data)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's name
        """Say nothing."""


@contextmanager
def website() -> Iterator[Site]:
    """Serve pages for a `with` block."""
    site = Site()
    with _serving(type("_Own", (_Handler,), {"site": site})) as url:
        site.url = url
        yield site


class _Files(SimpleHTTPRequestHandler):
    authorization: str | None = None

    def send_head(self) -> io.BytesIO | BinaryIO | None:
        if self.authorization and self.headers.get("Authorization") != self.authorization:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="files"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return None
        return super().send_head()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's name
        """Say nothing."""


@contextmanager
def folder_server(directory: Path, *, authorization: str | None = None) -> Iterator[str]:
    """Serve the files of a directory for a `with` block, to those who send this header, and yield the address."""
    files = type("_Own", (_Files,), {"authorization": authorization})

    def handler(*args: object) -> _Files:
        served: _Files = files(*args, directory=str(directory))
        return served

    with _serving(handler) as url:  # type: ignore[arg-type]  # it makes a handler
        yield url


@contextmanager
def _serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
