"""What differs between two layers: the names in their tars, with what is told of each."""

from __future__ import annotations

import hashlib

from lamina.layer.retime import LayerReader
from lamina.tar import entry as kinds
from lamina.tar.entry import Entry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

#: What is told of a name that both layers have, in the order in which it is told.
ASPECTS = ("type", "content", "mode", "owner", "mtime", "xattrs")


def compare(first: str, second: str) -> list[tuple[bytes, tuple[str, ...]]]:
    """Return the names that differ between two layers, sorted, with those of ASPECTS that do, or "only in …".

    Both are directories of layers; "" stands for a layer that is not there.
    """
    one, other = (_entries(layer) if layer else {} for layer in (first, second))
    found: list[tuple[bytes, tuple[str, ...]]] = []
    for name in sorted(one.keys() | other.keys()):
        if name not in other:
            found.append((name, ("only in the first",)))
        elif name not in one:
            found.append((name, ("only in the second",)))
        elif one[name] != other[name]:
            pairs = zip(ASPECTS, one[name], other[name], strict=True)
            found.append((name, tuple(aspect for aspect, mine, theirs in pairs if mine != theirs)))
    return found


def _entries(layer: str) -> Mapping[bytes, tuple[object, ...]]:
    """Return what each name is, in the order of ASPECTS; contents as digests, so that memory goes with names alone."""
    reader = LayerReader(layer)
    return {
        entry.name.strip(b"/"): (
            entry.kind,
            _content(reader, entry),
            entry.mode,
            (entry.uid, entry.gid),
            entry.mtime,
            dict(entry.xattrs),
        )
        for entry in reader.entries()
    }


def _content(reader: LayerReader, entry: Entry) -> object:
    if entry.kind != kinds.FILE:
        return entry.link, entry.major, entry.minor
    digest = hashlib.sha256()
    for piece in reader.content(entry):
        digest.update(piece)
    return digest.digest()
