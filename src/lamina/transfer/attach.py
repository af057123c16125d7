"""Attach: a file becomes an artifact beside an image at its registry (image-spec manifest.md, "artifact usage")."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lamina.errors import NotFound
from lamina.events import OnEvent
from lamina.oci.descriptor import EMPTY, MANIFEST, Descriptor
from lamina.oci.digest import BlobDigest, digest_of
from lamina.oci.manifest import make_manifest
from lamina.oci.reference import Reference
from lamina.transfer.content import Blob, Bytes
from lamina.transfer.graph import Copier
from lamina.transfer.referrers import list_referrers
from lamina.transfer.remote import open_for_pull, open_repository
from lamina.transfer.section import Section, whole_file

_EMPTY = b"{}"
_TITLE = "org.opencontainers.image.title"


@dataclass(frozen=True, slots=True)
class _Files:
    """Documents and files that go to a registry."""

    documents: Mapping[str, bytes]
    files: Mapping[str, Section]

    def document(self, descriptor: Descriptor) -> bytes:
        """Return the manifest."""
        return self.documents[descriptor.digest]

    def blob(self, descriptor: Descriptor) -> Blob:
        """Return a file, or the empty config."""
        section = self.files.get(descriptor.digest)
        return section or Bytes(self.documents[descriptor.digest])

    def stop(self) -> None:
        """Nothing waits for anybody here."""


def attach_files(
    environ: Mapping[str, str],
    reference: Reference,
    paths: Sequence[str],
    *,
    artifact_type: str,
    media_type: str,
    annotations: Mapping[str, str],
    on_event: OnEvent,
) -> BlobDigest:
    """Send files as one artifact that refers to the image `reference` of a registry; return its manifest's digest.

    NotFound where the registry has no such image, or there is no such file.
    """
    files: dict[str, Section] = {}
    layers = []
    for path in paths:
        try:
            section = whole_file(path)
        except FileNotFoundError as error:
            raise NotFound("attach", path, "no such file") from error
        digest = section.digest()
        files[digest] = section
        layers.append(Descriptor(media_type, digest, section.size, {_TITLE: os.path.basename(path)}))
    with open_repository(environ, reference, pushing=True) as repository:
        subject = repository.resolve(reference.digest or reference.tag or "")
        bare = Descriptor(subject.media_type, subject.digest, subject.size)
        config = Descriptor(EMPTY, digest_of(_EMPTY), len(_EMPTY))
        made = make_manifest(config, tuple(layers), annotations, artifact_type=artifact_type, subject=bare)
        digest = digest_of(made.raw)
        source = _Files({digest: made.raw, config.digest: _EMPTY}, files)
        Copier(source, repository, "attach", on_event).copy(Descriptor(MANIFEST, digest, len(made.raw)), ())
        return digest


def referrers_of(
    environ: Mapping[str, str], reference: Reference, *, artifact_type: str, on_event: OnEvent
) -> list[Descriptor]:
    """Return what refers to an image of a registry; NotFound where there is no such image."""
    with open_for_pull(environ, reference, on_event) as (repository, subject):
        return list_referrers(repository, subject.digest, artifact_type)
