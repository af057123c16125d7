"""One repository of a registry, as source and as sink: the OCI distribution specification 1.1.

Blobs are fetched with ranges, so that a connection that breaks costs what was under way and no more, and are sent in
one request if they are small, otherwise as a stream that is taken up again where the registry says it broke off.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from urllib.parse import quote, urljoin, urlsplit

from urllib3.exceptions import HTTPError

from lamina.errors import InvalidInput, LaminaError, NotFound
from lamina.oci.descriptor import (
    DOCKER_INDEX,
    DOCKER_MANIFEST,
    INDEX,
    INDEX_TYPES,
    MANIFEST,
    MANIFEST_TYPES,
    Descriptor,
)
from lamina.oci.digest import BlobDigest, check_digest, digest_of
from lamina.oci.document import MAX_DOCUMENT, Fields, parse_json
from lamina.oci.reference import Reference
from lamina.transfer import referrers
from lamina.transfer.auth import Authorizer
from lamina.transfer.content import Blob, check_document, verified
from lamina.transfer.endpoints import Endpoint
from lamina.transfer.http import Body, Http, Response, Trust, Unreachable, drain, finish, pause, read_all, reason_of
from lamina.transfer.section import PIECE

_ACCEPTED = ", ".join((MANIFEST, INDEX, DOCKER_MANIFEST, DOCKER_INDEX))
_MONOLITHIC = 1 << 20  # blobs up to this size go in one request
_ATTEMPTS = 5  # without any progress
_MAX_ERROR = 1 << 16
_MAX_TAGS = 16 << 20


class Repository:
    """A repository at one host. `name` is what people call it, for errors."""

    def __init__(
        self, http: Http, endpoint: Endpoint, authorizer: Authorizer, trust: Trust, *, name: str, pushing: bool
    ) -> None:
        self._http = http
        self._endpoint = endpoint
        self._authorizer = authorizer
        self._trust = trust
        self._name = name
        self._scope = f"repository:{endpoint.repository}:pull{',push' if pushing else ''}"
        self._base = f"https://{endpoint.host}"
        self._greeted = False
        self._mounts: Mapping[str, str] = {}
        self._manifests: dict[str, tuple[Descriptor, bytes]] = {}

    def offer(self, mounts: Mapping[str, str]) -> None:
        """Tell which blobs, by digest, other repositories of this registry are thought to have."""
        self._mounts = mounts
        others = sorted(set(mounts.values()))
        self._scope = " ".join([self._scope, *(f"repository:{other}:pull" for other in others)])

    def greet(self) -> None:
        """Find out how the registry is reached: by TLS, or without it where that is allowed."""
        if self._greeted:
            return
        try:
            response = self._ask()
        except Unreachable as error:
            if not (self._endpoint.insecure and error.insecure_might_help):
                raise
            self._base = f"http://{self._endpoint.host}"
            response = self._ask()
        if response.status == 401:
            drain(response)
            self._authorizer.answer(response.headers.get("WWW-Authenticate", ""), self._scope, self._base, {})
        else:
            drain(response)
        self._greeted = True

    def log_in(self) -> None:
        """Check that the registry accepts who one is; LaminaError where it does not."""
        self._scope = ""
        self.greet()
        response = self.request("GET", "/v2/")
        if response.status != 200:
            raise self._error("log in at", response)
        drain(response)

    def _ask(self) -> Response:
        # A name without an API behind it answers quickly or not at all: one attempt tells.
        return self._http.request("GET", f"{self._base}/v2/", headers={}, trust=self._trust, retry=False)

    # Source

    def resolve(self, reference: str) -> Descriptor:
        """Return the manifest or index that a tag or digest names; NotFound where there is none."""
        descriptor, _ = self._manifest(reference)
        return descriptor

    def document(self, descriptor: Descriptor) -> bytes:
        """Return a manifest, index or config."""
        what = f"{descriptor.digest} of {self._name}"
        if descriptor.size > MAX_DOCUMENT:
            raise InvalidInput("read", what, f"it is larger than {MAX_DOCUMENT} bytes")
        if descriptor.media_type in MANIFEST_TYPES | INDEX_TYPES:
            _, data = self._manifest(descriptor.digest)
        else:
            data = b"".join(verified(self.blob(descriptor), descriptor))
        check_document(data, descriptor, what)
        return data

    def blob(self, descriptor: Descriptor) -> Blob:
        """Return a blob, which is fetched when it is read."""
        return _RemoteBlob(self, descriptor)

    def stop(self) -> None:
        """Break off all connections, also of other threads."""
        self._http.stop()

    def _manifest(self, reference: str) -> tuple[Descriptor, bytes]:
        if reference not in self._manifests:
            found = self._fetch_manifest(reference)
            self._manifests[found[0].digest] = found
            return found
        return self._manifests[reference]

    def _fetch_manifest(self, reference: str) -> tuple[Descriptor, bytes]:
        path = self.path(f"manifests/{reference}")
        response = self.request("GET", path, headers={"Accept": _ACCEPTED})
        if response.status != 200:
            raise self._error("pull", response, f"{self._name}{'@' if ':' in reference else ':'}{reference}")
        what = f"the manifest {reference} of {self._name}"
        data = read_all(response, MAX_DOCUMENT, what)
        digest = BlobDigest(reference) if ":" in reference else digest_of(data)
        check_digest(data, digest, what)
        media_type = _media_type(data, response.headers.get("Content-Type", ""), what)
        return Descriptor(media_type, digest, len(data)), data

    def fetch(self, descriptor: Descriptor, offset: int) -> Response:
        """Ask for a blob from `offset` on."""
        headers = {"Range": f"bytes={offset}-{descriptor.size - 1}"} if offset else {}
        return self.request("GET", self.path(f"blobs/{descriptor.digest}"), headers=headers)

    def error(self, doing: str, response: Response) -> LaminaError:
        """Return what an answer that was not wanted means."""
        return self._error(doing, response)

    def index_or_none(self, tag: str) -> bytes | None:
        """Return the index that has this tag, None where there is none."""
        try:
            descriptor, data = self._fetch_manifest(tag)
        except NotFound:
            return None
        return data if descriptor.media_type in INDEX_TYPES else None

    def tags(self) -> list[str]:
        """Return the tags of the repository in the registry's order."""
        self.greet()
        found: list[str] = []
        path = self.path("tags/list")
        while path:
            response = self.request("GET", path)
            if response.status != 200:
                raise self._error("list the tags of", response)
            link = response.headers.get("Link", "")
            data = read_all(response, _MAX_TAGS, f"the tags of {self._name}")
            document = parse_json(data[: MAX_DOCUMENT + 1], f"the tags of {self._name}")
            found += Fields(document, f"the tags of {self._name}").texts("tags") or ()
            path = self.next_page(path, link)
        return list(dict.fromkeys(found))

    def next_page(self, path: str, link: str) -> str:
        """Return where the list that `path` began goes on, by the Link header of its answer; "" at its end."""
        return _next_page(self._base + path, link)

    # Sink

    def has(self, descriptor: Descriptor) -> bool:
        """Tell whether the registry has the blob in this repository."""
        response = self.request("HEAD", self.path(f"blobs/{descriptor.digest}"))
        drain(response)
        return response.status == 200

    def put_blob(self, descriptor: Descriptor, blob: Blob) -> None:
        """Send a blob, or have the registry take it from another repository that has it (`offer`)."""
        for attempt in range(1, _ATTEMPTS + 1):
            location = self._begin(descriptor)
            if not location:
                return
            try:
                self._send(location, descriptor, blob)
            except Unreachable:
                if attempt == _ATTEMPTS:
                    raise
                pause(attempt)
            else:
                return

    def put_manifest(self, descriptor: Descriptor, data: bytes, names: Sequence[Reference] | None) -> None:
        """Send a manifest or index, under the tags of `names` or its digest.

        Where it has a subject, it is among the referrers of that afterwards, whatever the registry knows of such.
        """
        subject = referrers.subject_of(descriptor, data)
        noted = subject is None
        for tag in [name.tag for name in names or () if name.tag] or [descriptor.digest]:
            if subject is not None or not self._has_manifest(tag, descriptor):
                noted |= bool(self.send_manifest(tag, descriptor.media_type, data).get("OCI-Subject"))
        if subject is not None and not noted:
            referrers.note(self, subject, descriptor, data)

    def _has_manifest(self, tag: str, descriptor: Descriptor) -> bool:
        response = self.request("HEAD", self.path(f"manifests/{tag}"), headers={"Accept": _ACCEPTED})
        drain(response)
        return response.status == 200 and response.headers.get("Docker-Content-Digest") == descriptor.digest

    def send_manifest(self, tag: str, media_type: str, data: bytes) -> Mapping[str, str]:
        """Send a manifest under one tag or its digest, and return the headers of the answer."""
        path = self.path(f"manifests/{tag}")
        response = self.request("PUT", path, headers={"Content-Type": media_type}, body=lambda: data)
        if response.status not in (200, 201, 202):
            raise self._error("push", response)
        drain(response)
        return response.headers

    def _begin(self, descriptor: Descriptor) -> str:
        """Begin an upload and return where to; "" where the blob is there now."""
        query = ""
        other = self._mounts.get(descriptor.digest)
        if other:
            query = f"?mount={quote(descriptor.digest, safe=':')}&from={quote(other)}"
        response = self.request("POST", self.path("blobs/uploads/") + query, body=lambda: b"")
        if response.status == 201 and other:
            drain(response)
            return ""
        if response.status != 202:
            raise self._error("push to", response)
        return self._location(response)

    def _location(self, response: Response, old: str = "") -> str:
        location = response.headers.get("Location", "")
        drain(response)
        if not location and not old:
            raise LaminaError("push to", self._name, "the registry does not say where to send a blob")
        return urljoin(self._base + "/", location) if location else old

    def _send(self, location: str, descriptor: Descriptor, blob: Blob) -> None:
        kind = {"Content-Type": "application/octet-stream"}
        digest = f"digest={quote(descriptor.digest, safe=':')}"
        if descriptor.size <= _MONOLITHIC:
            data = b"".join(verified(blob, descriptor))
            response = self.request("PUT", _with_query(location, digest), headers=kind, body=lambda: data)
        else:
            location = self._stream(location, descriptor, blob)
            response = self.request("PUT", _with_query(location, digest), headers=kind, body=lambda: b"")
        if response.status not in (201, 204):
            raise self._error("push to", response)
        drain(response)

    def _stream(self, location: str, descriptor: Descriptor, blob: Blob) -> str:
        """Send a large blob, and go on where it broke off; return the location that ends the upload."""
        offset = 0
        for attempt in range(1, _ATTEMPTS + 1):
            headers = {"Content-Type": "application/octet-stream", "Content-Length": str(descriptor.size - offset)}
            if offset:
                headers["Content-Range"] = f"{offset}-{descriptor.size - 1}"
            try:
                response = self.request(
                    "PATCH", location, headers=headers, body=partial(_from, blob, descriptor, offset), retry=False
                )
                if response.status in (202, 204):
                    return self._location(response, location)
                if response.status < 500 and response.status not in (416, 429):
                    raise self._error("push to", response)
                drain(response)
            except Unreachable:
                if attempt == _ATTEMPTS:
                    raise
            pause(attempt)
            location, offset = self._progress(location)
        raise LaminaError("push to", self._name, "the registry takes no more of a blob")

    def _progress(self, location: str) -> tuple[str, int]:
        """Ask how much of an upload has arrived (distribution specification, "Resuming an interrupted push")."""
        response = self.request("GET", location)
        if response.status != 204:
            drain(response)
            raise Unreachable(location, "it has forgotten the upload")
        end = response.headers.get("Range", "").rpartition("-")[2]
        return self._location(response, location), int(end) + 1 if end.isascii() and end.isdigit() and end != "0" else 0

    # Requests

    def path(self, rest: str) -> str:
        """Return where `rest` of this repository is at its host."""
        return f"/v2/{self._endpoint.repository}/{rest}"

    def request(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: Body | None = None,
        retry: bool = True,
    ) -> Response:
        """Ask the registry for `path`, as who one is; the answer is as `Http.request` returns it."""
        self.greet()
        url = urljoin(self._base, path)
        trusted = urlsplit(url)[:2] == urlsplit(self._base)[:2]
        for again in (True, False):
            secret = self._authorizer.headers(self._scope) if trusted else {}
            response = self._http.request(
                method, url, headers={**(headers or {}), **secret}, trust=self._trust, body=body, retry=retry
            )
            if response.status != 401 or not again or not trusted:
                return response
            challenge = response.headers.get("WWW-Authenticate", "")
            if not self._authorizer.answer(challenge, self._scope, url, secret):
                return response
            drain(response)
        raise AssertionError("unreachable")

    def _error(self, doing: str, response: Response, subject: str = "") -> LaminaError:
        subject = subject or self._name or self._endpoint.host
        said = ""
        if response.headers.get("Content-Type", "").startswith("application/json"):
            try:
                said = _first_error(read_all(response, _MAX_ERROR, "the answer"))
            except LaminaError:  # what it says is a courtesy
                said = ""
        drain(response)
        if response.status in (401, 403):
            hint = f"lamina login {self._endpoint.host}"
            return LaminaError(doing, subject, f"the registry denies access{f': {said}' if said else ''}", hint)
        if response.status == 404:
            return NotFound(doing, subject, "the registry has no such image" if doing == "pull" else "it is not there")
        return LaminaError(doing, subject, f"the registry answers {response.status}{f': {said}' if said else ''}")


@dataclass(frozen=True, slots=True)
class _RemoteBlob:
    """A blob of a repository."""

    repository: Repository
    descriptor: Descriptor

    def pieces(self) -> Iterator[bytes]:
        """Yield the bytes; a connection that breaks is made anew for the rest."""
        offset = failures = 0
        while True:
            begun = offset
            try:
                for piece in self._from(offset):
                    offset += len(piece)
                    yield piece
                if offset >= self.descriptor.size:
                    return
                reason = f"the connection ended after {offset} of {self.descriptor.size} bytes"
            except HTTPError as error:
                reason = reason_of(error)
            failures = 1 if offset > begun else failures + 1
            if failures >= _ATTEMPTS:
                raise LaminaError("fetch the blob", self.descriptor.digest, reason)
            pause(failures)

    def _from(self, offset: int) -> Iterator[bytes]:
        response = self.repository.fetch(self.descriptor, offset)
        if response.status not in (200, 206):
            raise self.repository.error(f"fetch the blob {self.descriptor.digest} of", response)
        try:
            # A server may send all of it, whatever was asked for.
            skip = offset - _start_of(response) if response.status == 206 else offset
            if skip < 0:
                raise LaminaError("fetch the blob", self.descriptor.digest, "the registry sends another range of it")
            while piece := response.read(PIECE):
                if skip < len(piece):
                    yield piece[skip:]
                skip = max(0, skip - len(piece))
        finally:
            finish(response)


def _start_of(response: Response) -> int:
    unit, _, rest = response.headers.get("Content-Range", "").partition(" ")
    start = rest.partition("-")[0]
    return int(start) if unit == "bytes" and start.isascii() and start.isdigit() else 1 << 62


def _from(blob: Blob, descriptor: Descriptor, offset: int) -> Iterable[bytes]:
    """Yield a verified blob from `offset` on."""
    for piece in verified(blob, descriptor):
        if offset < len(piece):
            yield piece[offset:]
        offset = max(0, offset - len(piece))


def _media_type(data: bytes, header: str, what: str) -> str:
    """Return the media type of a manifest: what it says itself, else what the registry says of it."""
    own = Fields(parse_json(data, what), what).text("mediaType")
    media_type = own or header.partition(";")[0].strip()
    if media_type not in MANIFEST_TYPES | INDEX_TYPES:
        raise InvalidInput("use", what, f"its type is {media_type or 'not said'}, which is no manifest and no index")
    return media_type


def _first_error(data: bytes) -> str:
    errors = Fields(parse_json(data, "the answer"), "the answer").children("errors") or ()
    for error in errors:
        return error.text("message") or error.text("code")
    return ""


def _next_page(url: str, link: str) -> str:
    """Return path and query of the next page that a Link header (RFC 8288) names, on the same host only; or ""."""
    target, _, parameters = link.partition(">")
    if not target.startswith("<") or "next" not in parameters:
        return ""
    found = urlsplit(urljoin(url, target[1:]))
    if found.netloc != urlsplit(url).netloc:
        return ""
    return found.path + (f"?{found.query}" if found.query else "")


def _with_query(location: str, query: str) -> str:
    return location + ("&" if urlsplit(location).query else "?") + query
