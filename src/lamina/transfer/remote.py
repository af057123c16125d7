"""Opening repositories of registries by reference: endpoints, trust, credentials and connections come together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from lamina.errors import InvalidInput, LaminaError, NotFound
from lamina.events import Event, OnEvent
from lamina.oci.descriptor import Descriptor
from lamina.oci.reference import DEFAULT_REGISTRY, Reference
from lamina.transfer.auth import Authorizer
from lamina.transfer.credentials import Credentials, find_credentials
from lamina.transfer.endpoints import Endpoint, find_endpoints, trust_of
from lamina.transfer.http import Http
from lamina.transfer.registry import Repository


@contextmanager
def open_for_pull(
    environ: Mapping[str, str], reference: Reference, on_event: OnEvent
) -> Iterator[tuple[Repository, Descriptor]]:
    """Find a manifest, at a mirror or at the registry itself; yield the repository that has it, and the manifest.

    Raises what the registry itself said; what mirrors say comes as an event.
    """
    wanted = reference.digest or reference.tag or ""
    with Http(environ) as http:
        endpoints = find_endpoints(environ, reference, pulling=True)
        for endpoint in endpoints[:-1]:
            repository = _open(http, environ, endpoint, reference, pushing=False)
            try:
                manifest = repository.resolve(wanted)
            except LaminaError as error:
                on_event(Event("pull", reference.familiar, text=f"the mirror {endpoint.host}: {error.reason}"))
                continue
            yield repository, manifest
            return
        repository = _open(http, environ, endpoints[-1], reference, pushing=False)
        yield repository, _resolved(repository, wanted, reference)


@contextmanager
def open_repository(environ: Mapping[str, str], reference: Reference, *, pushing: bool) -> Iterator[Repository]:
    """Yield the repository of `reference` at its registry."""
    with Http(environ) as http:
        endpoint = find_endpoints(environ, reference, pulling=False)[-1]
        yield _open(http, environ, endpoint, reference, pushing=pushing)


def check_login(environ: Mapping[str, str], registry: str, credentials: Credentials) -> None:
    """Ask the registry whether it knows these credentials; LaminaError where it does not."""
    with Http(environ) as http:
        endpoint = find_endpoints(environ, Reference(registry, "", None), pulling=False)[-1]
        trust = trust_of(environ, endpoint)
        authorizer = Authorizer(http, trust, credentials)
        Repository(http, endpoint, authorizer, trust, name=registry, pushing=False).log_in()


def parse_registry(text: str) -> str:
    """Return the registry that `text` names: a host, perhaps with a port; docker.io for nothing."""
    name = text.removeprefix("https://").removeprefix("http://").rstrip("/")
    if name in ("", "index.docker.io", "index.docker.io/v1", "registry-1.docker.io"):
        return DEFAULT_REGISTRY
    if "/" in name or any(c.isspace() for c in name):
        raise InvalidInput("use the registry", repr(text), "it is not HOST or HOST:PORT")
    return name


def _resolved(repository: Repository, wanted: str, reference: Reference) -> Descriptor:
    try:
        return repository.resolve(wanted)
    except NotFound as error:
        raise NotFound("pull", reference.familiar, error.reason) from error
    except LaminaError as error:
        raise LaminaError("pull", reference.familiar, _told(error), error.hint) from error


def _told(error: LaminaError) -> str:
    return error.reason if error.doing == "pull" else f"cannot {error.doing} {error.subject}: {error.reason}"


def _open(
    http: Http, environ: Mapping[str, str], endpoint: Endpoint, reference: Reference, *, pushing: bool
) -> Repository:
    trust = trust_of(environ, endpoint)
    credentials = find_credentials(environ, reference.registry, reference.repository)
    authorizer = Authorizer(http, trust, credentials)
    return Repository(http, endpoint, authorizer, trust, name=reference.familiar_repository, pushing=pushing)
