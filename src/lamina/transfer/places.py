"""Where images can be, as text: what `lamina copy` takes.

    NAME or store:NAME           an image of the store
    docker://NAME                in a registry
    oci:DIR[:NAME]               an OCI image layout
    oci-archive:FILE[:NAME]      one in a tar archive
    docker-archive:FILE[:NAME]   an archive as docker writes it

The prefixes are those of skopeo and podman (containers-transports(5)).
"""

from __future__ import annotations

from dataclasses import dataclass

from lamina.errors import InvalidInput

_WITH_PATH = ("oci", "oci-archive", "docker-archive")


@dataclass(frozen=True, slots=True)
class Place:
    """`kind` is "store", "docker", "oci", "oci-archive" or "docker-archive"; the last three have a path."""

    kind: str
    path: str
    name: str


def parse_place(text: str) -> Place:
    """Return the place that `text` means; InvalidInput where it means none."""
    if text.startswith("docker://"):
        return Place("docker", "", _needed(text, text.removeprefix("docker://")))
    kind, colon, rest = text.partition(":")
    if colon and kind in _WITH_PATH:
        path, _, name = rest.partition(":")
        return Place(kind, _needed(text, path), name)
    if colon and kind == "store":
        return Place("store", "", _needed(text, rest))
    if colon and (kind in ("dir", "docker-daemon", "containers-storage") or rest.startswith("//")):
        hint = "use docker://, oci:, oci-archive:, docker-archive: or a name in the store"
        raise InvalidInput("copy", text, f"{kind}: is no kind of place that is known here", hint)
    return Place("store", "", _needed(text, text))


def _needed(text: str, part: str) -> str:
    if not part:
        raise InvalidInput("copy", repr(text), "it names nothing")
    return part
