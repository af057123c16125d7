"""What refers to an image at its registry: signatures, bills of materials, anything (distribution specification 1.1).

A registry that knows of referrers answers for them, and says so when one is pushed. For others the clients keep the
list themselves, as an index under a tag that is made of the subject's digest ("Referrers Tag Schema").
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from lamina.oci.descriptor import INDEX_TYPES, Descriptor
from lamina.oci.digest import BlobDigest
from lamina.oci.document import MAX_DOCUMENT
from lamina.oci.index import Index, make_index, parse_index
from lamina.oci.manifest import Manifest, parse_any_manifest
from lamina.transfer.http import drain, read_all

if TYPE_CHECKING:
    from lamina.transfer.registry import Repository

_ALGORITHM, _ENCODED = 32, 64  # characters that the tag has of each part of a digest


def list_referrers(repository: Repository, subject: BlobDigest, artifact_type: str = "") -> list[Descriptor]:
    """Return what refers to the manifest `subject`, of one type if that is given; nothing where nobody knows it."""
    found = _asked(repository, subject, artifact_type)
    if found is None:
        found = _listed(repository, subject)
    # A registry may ignore the wish for one type.
    wanted = [entry for entry in found if artifact_type in ("", entry.artifact_type)]
    return list({entry.digest: entry for entry in wanted}.values())


def subject_of(descriptor: Descriptor, data: bytes) -> Descriptor | None:
    """Return what a manifest or index refers to, None for one that stands for itself."""
    return _parsed(descriptor, data).subject


def note(repository: Repository, subject: Descriptor, descriptor: Descriptor, data: bytes) -> None:
    """Put a manifest, which is at the registry, on the list of what refers to `subject`.

    Of two clients that do so at once, the later one may undo what the other did: the specification has no remedy.
    """
    document = _parsed(descriptor, data)
    kind = document.kind if isinstance(document, Manifest) else document.artifact_type
    entry = Descriptor(
        descriptor.media_type, descriptor.digest, descriptor.size, dict(document.annotations), artifact_type=kind
    )
    others = [other for other in _listed(repository, subject.digest) if other.digest != entry.digest]
    index = make_index([*others, entry])
    repository.send_manifest(tag_for(subject.digest), index.media_type, index.raw)


def tag_for(digest: str) -> str:
    """Return the tag of the list of what refers to a manifest."""
    algorithm, _, encoded = digest.partition(":")
    return f"{algorithm[:_ALGORITHM]}-{encoded[:_ENCODED]}"


def _parsed(descriptor: Descriptor, data: bytes) -> Manifest | Index:
    what = f"the manifest {descriptor.digest}"
    return parse_index(data, what) if descriptor.media_type in INDEX_TYPES else parse_any_manifest(data, what)


def _asked(repository: Repository, subject: str, artifact_type: str) -> list[Descriptor] | None:
    """Return what the registry says, or None where it does not know of referrers."""
    found: list[Descriptor] = []
    what = f"the referrers of {subject}"
    path = repository.path(f"referrers/{subject}")
    if artifact_type:
        path += f"?artifactType={quote(artifact_type, safe='')}"
    while path:
        response = repository.request("GET", path)
        # One that does not know the endpoint may take it for any other wrong address.
        if response.status in (400, 404, 405) and not found:
            drain(response)
            return None
        if response.status != 200:
            raise repository.error("list the referrers at", response)
        link = response.headers.get("Link", "")
        found += parse_index(read_all(response, MAX_DOCUMENT, what), what).manifests
        path = repository.next_page(path, link)
    return found


def _listed(repository: Repository, subject: str) -> list[Descriptor]:
    data = repository.index_or_none(tag_for(subject))
    return list(parse_index(data, f"the referrers of {subject}").manifests) if data is not None else []
