"""Who one is at a registry: docker's config.json, podman's auth.json, and docker's credential helpers.

The files are looked at in podman's order and all are read; what is written goes to one of them (`login_file`), with all
else in it kept. A credential helper is the program docker-credential-NAME, which speaks JSON
(docker/docker-credential-helpers, "Development").
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from lamina.errors import InvalidInput, LaminaError, NotFound
from lamina.ids.subid import find_program
from lamina.oci.document import MAX_DOCUMENT, Fields, parse_json
from lamina.oci.reference import DEFAULT_REGISTRY

_DOCKER_IO = "https://index.docker.io/v1/"  # docker's own key for its registry
_TOKEN_USER = "<token>"


@dataclass(frozen=True, slots=True)
class Credentials:
    """A name and a password, or a token that stands for both."""

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)

    def basic(self) -> str:
        """Return the value of an Authorization header."""
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()


def find_credentials(environ: Mapping[str, str], registry: str, repository: str) -> Credentials | None:
    """Return who one is at `registry`, or None; a longer match ("registry/team") comes before a shorter one."""
    keys = [*_keys(registry, repository)]
    for path in _files(environ):
        document = _read(path)
        if document is None:
            continue
        helpers = document.text_map("credHelpers")
        helper = helpers.get(registry) or document.text("credsStore")
        if helper:
            found = _ask_helper(helper, _helper_key(registry))
            if found is not None:
                return found
        auths = document.child("auths") if document.has("auths") else None
        for key in keys:
            if auths is not None and auths.has(key):
                found = _decode(auths.child(key))
                if found is not None:
                    return found
    return None


def login_file(environ: Mapping[str, str]) -> str:
    """Return the file that a login is written to: REGISTRY_AUTH_FILE, or docker's, which podman reads too."""
    return environ.get("REGISTRY_AUTH_FILE") or _docker_file(environ)


def store_credentials(path: str, registry: str, credentials: Credentials) -> None:
    """Write who one is at `registry` to the file `path`, or give it to the helper that the file names."""
    document = _load(path)
    helper = _helper_of(document, registry)
    if helper:
        secret = {
            "ServerURL": _helper_key(registry),
            "Username": credentials.username or _TOKEN_USER,
            "Secret": credentials.password or credentials.identity_token,
        }
        _run_helper(helper, "store", json.dumps(secret).encode())
        return
    value: dict[str, str] = {"auth": credentials.basic().removeprefix("Basic ")} if credentials.username else {}
    if credentials.identity_token:
        value["identitytoken"] = credentials.identity_token
    _auths(document)[_helper_key(registry)] = value
    _save(path, document)


def remove_credentials(path: str, registry: str) -> bool:
    """Forget who one is at `registry`; False where the file `path` does not know."""
    document = _load(path)
    helper = _helper_of(document, registry)
    if helper:
        _run_helper(helper, "erase", _helper_key(registry).encode())
        return True
    auths = _auths(document)
    known = [key for key in {_helper_key(registry), registry} if key in auths]
    for key in known:
        del auths[key]
    if known:
        _save(path, document)
    return bool(known)


def _keys(registry: str, repository: str) -> Iterator[str]:
    parts = repository.split("/")
    for count in range(len(parts), 0, -1):
        yield "/".join((registry, *parts[:count]))
    yield from (registry, f"https://{registry}", f"http://{registry}")
    if registry == DEFAULT_REGISTRY:
        yield from (_DOCKER_IO, "index.docker.io", "https://index.docker.io")


def _helper_key(registry: str) -> str:
    return _DOCKER_IO if registry == DEFAULT_REGISTRY else registry


def _files(environ: Mapping[str, str]) -> list[str]:
    if named := environ.get("REGISTRY_AUTH_FILE"):
        return [named]
    files = []
    if runtime := environ.get("XDG_RUNTIME_DIR"):
        files.append(f"{runtime}/containers/auth.json")
    config = environ.get("XDG_CONFIG_HOME") or (f"{environ['HOME']}/.config" if environ.get("HOME") else "")
    if config:
        files.append(f"{config}/containers/auth.json")
    return [*files, _docker_file(environ)]


def _docker_file(environ: Mapping[str, str]) -> str:
    directory = environ.get("DOCKER_CONFIG") or f"{environ.get('HOME', '/root')}/.docker"
    return f"{directory}/config.json"


def _read(path: str) -> Fields | None:
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_DOCUMENT + 1)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None
    return Fields(parse_json(data, path), path) if data.strip() else None


def _decode(entry: Fields) -> Credentials | None:
    token = entry.text("identitytoken")
    encoded = entry.text("auth")
    username, password = entry.text("username"), entry.text("password")
    if encoded:
        try:
            text = base64.b64decode(encoded, validate=True).decode().rstrip("\0")
        except ValueError:
            entry.refuse("auth", "is not base64 of name:password")
        username, _, password = text.partition(":")
    if not (token or username):
        return None  # docker leaves an empty entry where a helper has the rest
    return Credentials(username, password, token)


def _ask_helper(helper: str, key: str) -> Credentials | None:
    try:
        said = _run_helper(helper, "get", key.encode())
    except NotFound:
        return None
    fields = Fields(parse_json(said, f"the answer of docker-credential-{helper}"), f"docker-credential-{helper}")
    username, secret = fields.text("Username"), fields.text("Secret")
    if username == _TOKEN_USER:
        return Credentials(identity_token=secret)
    return Credentials(username, secret)


def _run_helper(helper: str, verb: str, given: bytes) -> bytes:
    if not helper or "/" in helper:
        raise InvalidInput("use the credential helper", repr(helper), "it is no name")
    name = f"docker-credential-{helper}"
    program = find_program(name)
    if program is None:
        raise LaminaError("ask for credentials", name, "it is not installed, and a configuration file names it")
    done = subprocess.run([program, verb], input=given, capture_output=True, check=False, timeout=60)
    if done.returncode == 0:
        return done.stdout
    said = (done.stdout or done.stderr).decode("utf-8", "replace").strip()
    if "not found" in said:
        raise NotFound("ask for credentials", name, said)
    raise LaminaError("ask for credentials", name, said or f"it ended with status {done.returncode}")


def _load(path: str) -> dict[str, object]:
    try:
        with open(path, "rb") as file:
            document = parse_json(file.read(MAX_DOCUMENT + 1) or b"{}", path)
    except FileNotFoundError:
        return {}
    if not isinstance(document, dict):
        raise InvalidInput("read", path, "it is no JSON object")
    return document


def _helper_of(document: dict[str, object], registry: str) -> str:
    helpers = document.get("credHelpers")
    chosen = helpers.get(registry) if isinstance(helpers, dict) else None
    chosen = chosen or document.get("credsStore")
    return chosen if isinstance(chosen, str) else ""


def _auths(document: dict[str, object]) -> dict[str, object]:
    auths = document.setdefault("auths", {})
    if not isinstance(auths, dict):
        raise InvalidInput("read", "the credentials", "auths is no JSON object")
    return auths


def _save(path: str, document: dict[str, object]) -> None:
    """Replace the file; nobody but its owner may read it."""
    path = os.path.realpath(path)  # what is a link stays one
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    temporary = f"{path}.{os.urandom(6).hex()}"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(fd, "wb") as file:
            file.write(json.dumps(document, indent="\t").encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
