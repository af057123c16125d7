"""The document of a build cache: which steps there are, and which layers they made (docs/formats/build-cache.md).

It is the config of an OCI artifact whose layers are those of the steps, in the order of `layers`. What comes from
outside is checked here as far as text goes; that a layer is what its diff id says shows when it is unpacked.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lamina.errors import InvalidInput, one_line
from lamina.oci.digest import DiffId, is_hex, parse_diff_id
from lamina.oci.document import MAX_DOCUMENT, Fields, encode_json, parse_json, without_empty
from lamina.oci.timestamp import parse_time

#: The media type of the document.
CACHE_CONFIG = "application/vnd.lamina.build.cache.v1+json"

_VERSION = 1
_MAX_PARTS = 500  # of a key; they explain a miss, and a COPY may have two for each of many files
_NAME = 16  # digits of a cache mount's name


@dataclass(frozen=True, slots=True)
class CachedStep:
    """What a step made: a layer, or "" where it changed no file. `parts` and `identities` are for explanations."""

    key: str
    layer: str
    created: str
    parts: tuple[str, ...] = ()
    identities: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CacheDocument:
    """A build cache: `layers` are diff ids, as the manifest lists them; `mounts` are those of cache mounts by name."""

    steps: tuple[CachedStep, ...]
    layers: tuple[DiffId, ...]
    mounts: tuple[tuple[str, str], ...] = ()


def encode_cache(cache: CacheDocument) -> bytes:
    """Return the bytes of the document; of very many steps, it leaves out what only explains misses."""
    data = _encoded(cache, _MAX_PARTS)
    return data if len(data) <= MAX_DOCUMENT else _encoded(cache, 0)


def parse_cache(raw: bytes, what: str) -> CacheDocument:
    """Return the document in `raw`; InvalidInput where it is none, or newer than this program."""
    fields = Fields(parse_json(raw, what), what)
    version = fields.integer("version")
    if version != _VERSION:
        fields.refuse("version", f"is {version}, not {_VERSION}: another version of lamina wrote it")
    layers = fields.each_parsed("layers", parse_diff_id)
    known = frozenset(map(str, layers))
    steps = tuple(_read_step(step, known) for step in fields.children("steps") or ())
    mounts = tuple(_read_mount(mount, known) for mount in fields.children("mounts") or ())
    return CacheDocument(steps, layers, mounts)


def _encoded(cache: CacheDocument, most_parts: int) -> bytes:
    return encode_json(
        {
            "version": _VERSION,
            "layers": list(cache.layers),
            "steps": [_step_object(step, most_parts) for step in cache.steps],
            "mounts": [{"name": name, "layer": layer} for name, layer in cache.mounts],
        }
    )


def _step_object(step: CachedStep, most_parts: int) -> dict[str, object]:
    explaining: dict[str, object] = {}
    if len(step.parts) <= most_parts:
        explaining = {"parts": list(step.parts), "identities": list(step.identities)}
    return {"key": step.key, "created": step.created, **without_empty({"layer": step.layer, **explaining})}


def _read_step(fields: Fields, layers: Iterable[str]) -> CachedStep:
    identities = fields.texts("identities") or ()
    for identity in identities:
        _check_hex(fields, "identities", identity, 64)
    created = fields.needed_text("created")
    parse_time(created)
    return CachedStep(
        _check_hex(fields, "key", fields.needed_text("key"), 64),
        _known(fields, fields.text("layer"), layers) if fields.has("layer") else "",
        created,
        tuple(map(one_line, fields.texts("parts") or ())),
        identities,
    )


def _read_mount(fields: Fields, layers: Iterable[str]) -> tuple[str, str]:
    name = _check_hex(fields, "name", fields.needed_text("name"), _NAME)
    return name, _known(fields, fields.needed_text("layer"), layers)


def _known(fields: Fields, layer: str, layers: Iterable[str]) -> str:
    if layer not in layers:
        fields.refuse("layer", "is none of the layers")
    return layer


def _check_hex(fields: Fields, name: str, text: str, length: int) -> str:
    # These become names of files in the store.
    if len(text) != length or not is_hex(text):
        fields.refuse(name, f"is not {length} hexadecimal digits")
    return text


def check_layers(cache: CacheDocument, listed: Sequence[object], what: str) -> None:
    """Refuse a document that has not one layer for each that its manifest lists (InvalidInput)."""
    if len(cache.layers) != len(listed):
        raise InvalidInput("use", what, f"its manifest lists {len(listed)} layers, its config {len(cache.layers)}")
