"""Where a registry is reached, and what is believed there: registries.conf, certs.d, and what loopback means.

Read are containers-registries.conf(5) of version 2, with its drop-in directories (the fields prefix, location,
insecure, blocked, mirror and mirror-by-digest-only; names without a registry always mean docker.io), and
containers-certs.d(5) in docker's and podman's places.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from lamina.errors import InvalidInput, LaminaError
from lamina.oci.document import Fields
from lamina.oci.reference import DEFAULT_REGISTRY, Reference
from lamina.transfer.http import Trust, is_loopback

_DOCKER_API = "registry-1.docker.io"  # where docker.io's API is


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A repository at a host. `insecure`: any certificate will do, and so will plain HTTP."""

    host: str
    repository: str
    insecure: bool = False


@dataclass(frozen=True, slots=True)
class _Registry:
    prefix: str
    location: str
    insecure: bool
    blocked: bool
    mirrors: tuple[tuple[str, bool], ...]  # location, insecure
    by_digest_only: bool


def find_endpoints(environ: Mapping[str, str], reference: Reference, *, pulling: bool) -> list[Endpoint]:
    """Return where to look for `reference`, in order: mirrors, if one is pulling, and then the registry itself."""
    name = f"{reference.registry}/{reference.repository}"
    registry = _match(_read_all(environ), name)
    if registry is None:
        return [_endpoint(name, insecure=False)]
    if registry.blocked:
        raise LaminaError("use", reference.registry, "registries.conf blocks it")
    rest = name[len(registry.prefix) :] if not registry.prefix.startswith("*.") else ""
    own = registry.location + rest if registry.location and not registry.prefix.startswith("*.") else name
    mirrors = registry.mirrors if pulling and (reference.digest or not registry.by_digest_only) else ()
    found = [_endpoint(location + rest, insecure=insecure) for location, insecure in mirrors]
    return [*found, _endpoint(own, insecure=registry.insecure)]


def trust_of(environ: Mapping[str, str], endpoint: Endpoint) -> Trust:
    """Return what certs.d and the endpoint itself say about certificates."""
    authorities: list[str] = []
    client: list[tuple[str, str]] = []
    for directory in _certificate_directories(environ, endpoint.host):
        try:
            names = sorted(os.listdir(directory))
        except OSError:
            continue
        authorities += [f"{directory}/{name}" for name in names if name.endswith(".crt")]
        pairs = [(f"{directory}/{name}", f"{directory}/{name[:-5]}.key") for name in names if name.endswith(".cert")]
        client += [pair for pair in pairs if os.path.exists(pair[1])]
        if authorities or client:
            break
    return Trust(verify=not endpoint.insecure, authorities=tuple(authorities), client=tuple(client))


def _endpoint(name: str, *, insecure: bool) -> Endpoint:
    host, _, repository = name.partition("/")
    # As docker has it: who can listen on this machine's own addresses is trusted with less than a certificate.
    insecure = insecure or is_loopback(host.rpartition(":")[0] or host)
    return Endpoint(_DOCKER_API if host == DEFAULT_REGISTRY else host, repository, insecure)


def _match(registries: Mapping[str, _Registry], name: str) -> _Registry | None:
    """Return the entry with the longest prefix that `name` has."""
    host = name.partition("/")[0]
    best: _Registry | None = None
    for prefix, registry in registries.items():
        wild = prefix.startswith("*.") and (host.endswith(prefix[1:]) or host.partition(":")[0].endswith(prefix[1:]))
        matches = wild or name == prefix or name.startswith(prefix.rstrip("/") + "/")
        if matches and (best is None or len(prefix) > len(best.prefix)):
            best = registry
    return best


def _read_all(environ: Mapping[str, str]) -> dict[str, _Registry]:
    found: dict[str, _Registry] = {}
    for path in _configuration_files(environ):
        for registry in _read(path):
            found[registry.prefix] = registry
    return found


def _configuration_files(environ: Mapping[str, str]) -> list[str]:
    if named := environ.get("CONTAINERS_REGISTRIES_CONF"):
        return [named]
    home = environ.get("XDG_CONFIG_HOME") or (f"{environ['HOME']}/.config" if environ.get("HOME") else "")
    own = f"{home}/containers/registries.conf"
    main = own if home and os.path.exists(own) else "/etc/containers/registries.conf"
    files = [main]
    for directory in ("/etc/containers/registries.conf.d", f"{home}/containers/registries.conf.d" if home else ""):
        try:
            files += [f"{directory}/{name}" for name in sorted(os.listdir(directory)) if name.endswith(".conf")]
        except OSError:
            continue
    return files


def _read(path: str) -> list[_Registry]:
    import tomllib

    try:
        with open(path, "rb") as file:
            document = tomllib.load(file)
    except (FileNotFoundError, PermissionError, NotADirectoryError):
        return []
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInput("read", path, error) from error
    listed = document.get("registry", [])
    if not isinstance(listed, list):
        return []  # version 1, which nobody writes any more, has a table here
    return [_registry(Fields(entry, path, f"registry[{i}]")) for i, entry in enumerate(listed)]


def _registry(fields: Fields) -> _Registry:
    location = fields.text("location")
    prefix = fields.text("prefix") or location
    if not prefix:
        fields.refuse("location", "is missing")
    return _Registry(
        prefix=prefix,
        location=location,
        insecure=fields.flag("insecure"),
        blocked=fields.flag("blocked"),
        mirrors=tuple(
            (mirror.needed_text("location"), mirror.flag("insecure")) for mirror in fields.children("mirror") or ()
        ),
        by_digest_only=fields.flag("mirror-by-digest-only"),
    )


def _certificate_directories(environ: Mapping[str, str], host: str) -> list[str]:
    home = environ.get("HOME", "")
    own = [f"{home}/.config/containers/certs.d/{host}"] if home else []
    return [*own, f"/etc/containers/certs.d/{host}", f"/etc/docker/certs.d/{host}"]
