"""Files from the web as inputs of a build: downloaded once a build, and asked for again only if they have changed.

What a URL gave last is kept as `build/urls/HEX` of the store: ETag, Last-Modified and digest. A server that answers
"not modified" has said what the content's digest is, and a step over the same content comes from the cache without the
content itself; where it is wanted after all, it is fetched and has to have that digest.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import Message
from email.utils import parsedate_to_datetime
from urllib.parse import unquote, urlsplit, urlunsplit

from urllib3.exceptions import HTTPError
from urllib3.util import make_headers

from lamina.build.inputs.names import without_secrets
from lamina.build.progress import Step
from lamina.errors import InvalidInput
from lamina.store.files import ensure_directory, read_if_present
from lamina.store.record import Record, encode_record
from lamina.store.staging import Staging
from lamina.transfer.http import Http, Response, Trust, drain, finish, is_passing, pause, reason_of

_PIECE = 1 << 18
_ATTEMPTS = 5
_SPARE = 64 << 20  # bytes of the file system that a download leaves free
_UNNAMED = "__unnamed__"  # as BuildKit calls what a URL gives no name
_LENGTHS = {"sha224": 56, "sha256": 64, "sha384": 96, "sha512": 128}


@dataclass(frozen=True, slots=True)
class Known:
    """What a URL gave: `digest` is the content's sha256 in hexadecimal, `modified` nanoseconds since the epoch."""

    digest: str
    name: str
    modified: int
    etag: str
    last_modified: str


@dataclass(frozen=True, slots=True)
class Checksum:
    """What a content has to have: `algorithm` as hashlib names it, `value` in hexadecimal."""

    algorithm: str
    value: str

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.value}"


def parse_checksum(text: str) -> Checksum:
    """Return the value of --checksum for a URL; InvalidInput where it is none."""
    algorithm, _, value = text.partition(":")
    if _LENGTHS.get(algorithm) != len(value) or value.strip("0123456789abcdef"):
        raise InvalidInput("read the checksum", text, f"expected ALGORITHM:HEX, with {', '.join(_LENGTHS)}")
    return Checksum(algorithm, value)


class Web:
    """Downloads of one build, into `staging`. `environ` tells the proxies."""

    def __init__(self, staging: Staging, environ: Mapping[str, str]) -> None:
        self._staging = staging
        self._http = Http(environ)
        self._known: dict[str, Known] = {}
        self._files: dict[str, str] = {}

    def __enter__(self) -> Web:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.__exit__()

    def identify(self, url: str, checksum: Checksum | None, step: Step | None) -> Known:
        """Return what the URL gives, downloading it only where that cannot be known otherwise.

        Raises InvalidInput for a content that has another checksum, and for an answer that is no content.
        """
        known = self._known.get(url)
        if known is None:
            recorded = self._recorded(url)
            if recorded is not None and checksum is not None and checksum == Checksum("sha256", recorded.digest):
                known = recorded  # nothing that a server says could change it
            else:
                known = self._ask(url, recorded, checksum, step)
            self._known[url] = known
        return known

    def fetch(self, url: str, checksum: Checksum | None, step: Step | None) -> tuple[str, Known]:
        """Return a file with the content, and what is known of it. The file is the staging directory's."""
        known = self.identify(url, checksum, step)
        if url not in self._files:
            again = self._ask(url, None, checksum, step)
            if again.digest != known.digest:
                raise InvalidInput("fetch", without_secrets(url), "its content has changed since the build began")
        return self._files[url], known

    def _ask(self, url: str, recorded: Known | None, checksum: Checksum | None, step: Step | None) -> Known:
        """Download the content, or find that it is what is recorded."""
        conditions = {}
        if recorded is not None and (checksum is None or checksum.algorithm == "sha256"):
            conditions = {"If-None-Match": recorded.etag, "If-Modified-Since": recorded.last_modified}
        for attempt in range(1, _ATTEMPTS + 1):
            response = self._request(url, {name: value for name, value in conditions.items() if value})
            try:
                if response.status == 304 and recorded is not None:
                    if checksum is not None and checksum.value != recorded.digest:
                        raise _mismatch(url, checksum, recorded.digest)
                    return recorded
                return self._take(url, response, checksum, step)
            except HTTPError as error:  # the content broke off
                if attempt == _ATTEMPTS or not is_passing(error):
                    raise InvalidInput("fetch", without_secrets(url), reason_of(error)) from error
                pause(attempt)
            finally:
                finish(response)
        raise AssertionError("unreachable")

    def _request(self, url: str, headers: Mapping[str, str]) -> Response:
        parts = urlsplit(url)
        user, at, host = parts.netloc.rpartition("@")
        authorization = make_headers(basic_auth=unquote(user)) if at else {}
        address = urlunsplit((parts.scheme, host, parts.path, parts.query, ""))
        return self._http.request("GET", address, headers={**headers, **authorization}, trust=Trust())

    def _take(self, url: str, response: Response, checksum: Checksum | None, step: Step | None) -> Known:
        if response.status != 200:
            drain(response)
            reason = f"the server answers {response.status} {response.reason or ''}".rstrip()
            raise InvalidInput("fetch", without_secrets(url), reason)
        path = self._staging.new_path()
        try:
            digest, other = self._write(url, response, path, checksum, step)
            if checksum is not None and other != checksum.value:
                raise _mismatch(url, checksum, other)
        except BaseException:
            os.unlink(path)
            raise
        known = _described(url, response, digest)
        os.chmod(path, 0o600)
        os.utime(path, ns=(known.modified, known.modified))
        self._files[url] = path
        self._record(url, known)
        return known

    def _write(
        self, url: str, response: Response, path: str, checksum: Checksum | None, step: Step | None
    ) -> tuple[str, str]:
        """Write the content to a new file; return its sha256, and its digest by the algorithm of `checksum`."""
        total, done = int(response.headers.get("Content-Length") or 0), 0
        sha256, other = hashlib.sha256(), hashlib.new(checksum.algorithm if checksum else "sha256")
        with open(path, "xb") as file:
            status = os.statvfs(file.fileno())
            room = status.f_bavail * status.f_frsize - _SPARE
            while piece := response.read(_PIECE):
                done += len(piece)
                if max(done, total) > room:
                    size = f"{max(done, total)} bytes or more"
                    raise InvalidInput("fetch", without_secrets(url), f"it has {size}, and {max(room, 0)} are free")
                sha256.update(piece)
                other.update(piece)
                file.write(piece)
                if step is not None:
                    step.advance(done, total)
        return sha256.hexdigest(), other.hexdigest()

    def _recorded(self, url: str) -> Known | None:
        path = self._staging.layout.path(_thing(url))
        data = read_if_present(path)
        if data is None:
            return None
        fields = Record(data, path)
        return Known(
            fields.text("digest"),
            fields.text("name"),
            int(fields.text("modified")),
            fields.text("etag", ""),
            fields.text("last-modified", ""),
        )

    def _record(self, url: str, known: Known) -> None:
        ensure_directory(self._staging.layout.path("build", "urls"))
        fields: list[tuple[str, str | int | None]] = [
            ("digest", known.digest),
            ("name", known.name),
            ("modified", str(known.modified)),
            ("etag", known.etag or None),
            ("last-modified", known.last_modified or None),
        ]
        self._staging.publish_file(_thing(url), encode_record(fields), sync=False)


def _thing(url: str) -> str:
    """Return the name of a URL's record: a digest, because an address may hold a password."""
    return f"build/urls/{hashlib.sha256(url.encode('utf-8', 'surrogateescape')).hexdigest()}"


def _mismatch(url: str, checksum: Checksum, found: str) -> InvalidInput:
    reason = f"its checksum is {checksum.algorithm}:{found}, not {checksum}"
    return InvalidInput("fetch", without_secrets(url), reason)


def _described(url: str, response: Response, digest: str) -> Known:
    headers = response.headers
    last_modified = _one_line(headers.get("Last-Modified", ""))
    try:
        modified = int(parsedate_to_datetime(last_modified).timestamp())
    except (ValueError, TypeError, OverflowError):
        modified = 0
    name = _file_name(urlsplit(url).path) or _disposed(headers.get("Content-Disposition", "")) or _UNNAMED
    return Known(digest, name, max(modified, 0) * 1_000_000_000, _one_line(headers.get("ETag", "")), last_modified)


def _one_line(value: str) -> str:
    return value if value.isprintable() and len(value) < 1024 else ""


def _file_name(path: str) -> str:
    """Return the last part of a path, "" where that is no name of a file."""
    name = posixpath.basename(unquote(path))
    return "" if name in (".", "..") or not name.isprintable() or len(os.fsencode(name)) > 255 else name


def _disposed(header: str) -> str:
    """Return the file name of a Content-Disposition."""
    message = Message()
    message["Content-Disposition"] = _one_line(header)
    return _file_name(message.get_filename("") or "")
