"""Docker's archives from before version 1.10: no manifest.json, but a directory for each layer, which names its parent.

    repositories          {"NAME": {"TAG": "ID"}}; may be missing
    ID/json               what the layer says of itself: `parent`, `created`, `config`, `container_config`, …
    ID/layer.tar

An image is the chain of layers that a name, or a layer that is nobody's parent, ends. Its config is made here, as
docker 1.10 made it of such images: settings of the last layer, one step of history for each.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from lamina.errors import InvalidInput
from lamina.oci.document import MAX_DOCUMENT, Fields, encode_json, parse_json
from lamina.oci.reference import Reference, parse_name
from lamina.tar.compress import Decompressed
from lamina.transfer.section import Section

_MAX_LAYERS = 1000


@dataclass(frozen=True, slots=True)
class OldImage:
    """An image of an old archive: a config made of what its layers say, their files base first, and its names."""

    config: bytes
    layers: tuple[Section, ...]
    names: tuple[Reference, ...]


def is_old_archive(files: Mapping[str, Section]) -> bool:
    """Tell whether the members are those of an old archive."""
    return "repositories" in files or any(_is_layer(name, files) for name in files)


def read_old_archive(files: Mapping[str, Section], what: str) -> list[OldImage]:
    """Return the images of an archive, those with names first; InvalidInput, naming `what`, where one is not whole."""
    layers = {name.partition("/")[0] for name in files if _is_layer(name, files)}
    said = {layer: _document(files, f"{layer}/json", what) for layer in sorted(layers)}
    names = _names(files, what)
    parents = {_parent(document) for document in said.values()}
    ends = [*names, *(layer for layer in said if layer not in parents and layer not in names)]
    digests: dict[str, str] = {}
    return [_image(end, names.get(end, ()), files, said=said, digests=digests, what=what) for end in ends]


def _is_layer(name: str, files: Mapping[str, Section]) -> bool:
    head, _, last = name.partition("/")
    return last == "layer.tar" and f"{head}/json" in files


def _names(files: Mapping[str, Section], what: str) -> dict[str, tuple[Reference, ...]]:
    if "repositories" not in files:
        return {}
    found: dict[str, tuple[Reference, ...]] = {}
    for repository, tags in _document(files, "repositories", what).items():
        for tag, layer in Fields(tags, f"repositories of {what}", repository).rest().items():
            if not isinstance(layer, str):
                raise InvalidInput("read", f"repositories of {what}", f"{repository}.{tag} must be a string")
            found[layer] = (*found.get(layer, ()), parse_name(f"{repository}:{tag}"))
    return found


def _document(files: Mapping[str, Section], name: str, what: str) -> dict[str, object]:
    where = f"{name} of {what}"
    return Fields(parse_json(files[name].read(MAX_DOCUMENT, where), where), where).rest()


def _parent(document: Mapping[str, object]) -> str:
    parent = document.get("parent")
    return parent if isinstance(parent, str) else ""


def _image(
    end: str,
    names: tuple[Reference, ...],
    files: Mapping[str, Section],
    *,
    said: Mapping[str, dict[str, object]],
    digests: dict[str, str],
    what: str,
) -> OldImage:
    chain: list[str] = []
    here = end
    while here:
        if here not in said:
            raise InvalidInput("read", what, f"it has no layer {here}")
        if here in chain or len(chain) == _MAX_LAYERS:
            raise InvalidInput("read", what, f"the layers below {end} do not end")
        chain.insert(0, here)
        here = _parent(said[here])
    layers = tuple(files[f"{layer}/layer.tar"] for layer in chain)
    for layer, section in zip(chain, layers, strict=True):
        if layer not in digests:
            digests[layer] = _diff_id(section)
    kept = ("architecture", "os", "created", "author", "config", "docker_version")
    config = {
        "architecture": "amd64",
        "os": "linux",
        **{key: value for key, value in said[end].items() if key in kept and value is not None},
        "rootfs": {"type": "layers", "diff_ids": [digests[layer] for layer in chain]},
        "history": [_step(said[layer]) for layer in chain],
    }
    return OldImage(encode_json(config), layers, names)


def _step(document: Mapping[str, object]) -> dict[str, object]:
    command = document.get("container_config")
    words = command.get("Cmd") if isinstance(command, dict) else None
    line = " ".join(map(str, words)) if isinstance(words, list) else ""
    step = {"created": document.get("created"), "author": document.get("author"), "comment": document.get("comment")}
    return {**{key: value for key, value in step.items() if value}, **({"created_by": line} if line else {})}


def _diff_id(section: Section) -> str:
    digest = hashlib.sha256()
    with section.opened() as fd:
        stream = Decompressed(fd, section.size)
        while piece := stream.read():
            digest.update(piece)
    return f"sha256:{digest.hexdigest()}"
