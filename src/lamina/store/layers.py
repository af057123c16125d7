"""Layers: `layers/NAME/{tree,framing,owners,layer}`; made in staging, published by rename, never changed after.

NAME is `diff-HEX` for a layer whose tar names all its parent directories, so that it is the same over everything, and
`chain-HEX` for one that takes some of them from below.
"""

from __future__ import annotations

import os

from lamina.errors import StoreError
from lamina.oci.digest import BlobDigest, ChainId, DiffId, digest_of, next_chain_id, parse_diff_id, parse_digest
from lamina.store.files import read_if_present
from lamina.store.record import Record, encode_record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from lamina.store.layout import Layout
    from lamina.store.staging import Staging


class LayerRecord:
    """What is known of a layer: `size` is that of its tar, `content` that of the files in it, both in bytes."""

    __slots__ = ("name", "diff_id", "size", "content", "entries", "complete")

    def __init__(self, name: str, diff_id: DiffId, *, size: int, content: int, entries: int, complete: bool) -> None:
        self.name = name
        self.diff_id = diff_id
        self.size = size
        self.content = content
        self.entries = entries
        self.complete = complete


def encode_layer(layer: LayerRecord) -> bytes:
    """Return the content of a layer's record."""
    return encode_record(
        [
            ("diff-id", layer.diff_id),
            ("size", layer.size),
            ("content", layer.content),
            ("entries", layer.entries),
            ("complete", int(layer.complete)),
        ]
    )


def read_layer(layout: Layout, name: str) -> LayerRecord:
    """Return the record of a layer that an image names; StoreError where it is missing."""
    path = layout.path("layers", name, "layer")
    # The last one again: it may have been settled between the two looks.
    data = read_if_present(path) or read_if_present(f"{path}-{boot_id()}") or read_if_present(path)
    if data is None:
        raise StoreError("read the layer", name, f"it is missing from {layout.root}")
    record = Record(data, path)
    return LayerRecord(
        name,
        parse_diff_id(record.text("diff-id")),
        size=record.number("size"),
        content=record.number("content"),
        entries=record.number("entries"),
        complete=record.number("complete") == 1,
    )


def has_layer(layout: Layout, name: str) -> bool:
    """Tell whether the layer is there, and not cut short by the machine's stop."""
    directory = layout.path("layers", name)
    return any(os.path.exists(f"{directory}/{record}") for record in ("layer", f"layer-{boot_id()}", "layer"))


def read_compressed(layout: Layout, name: str, maker: str | None) -> tuple[BlobDigest, int] | None:
    """Return digest and size of what `maker` (`layer.encode.maker_of`) made of the layer's tar, if that is known.

    None is any maker. A record that is damaged, or was made for another layer, is a StoreError.
    """
    path = layout.path("layers", name, "compressed")
    data = read_if_present(path)
    if data is None:
        return None
    record = Record(data, path)
    made_by, digest, size = record.text("maker"), parse_digest(record.text("digest")), record.number("size")
    if size <= 0:
        raise StoreError("read", path, f"the size {size} is none")
    if record.text("seal") != _seal(read_layer(layout, name).diff_id, made_by, digest, size):
        raise StoreError("read", path, "it is not what was written for this layer")
    return (digest, size) if maker in (made_by, None) else None


def remember_compressed(staging: Staging, name: str, maker: str, digest: BlobDigest, size: int) -> None:
    """Keep what `read_compressed` returns from now on: the last maker's is known, and it can be lost at no cost."""
    seal = _seal(read_layer(staging.layout, name).diff_id, maker, digest, size)
    data = encode_record([("maker", maker), ("digest", digest), ("size", size), ("seal", seal)])
    staging.publish_file(f"layers/{name}/compressed", data, sync=False)


def _seal(diff_id: DiffId, maker: str, digest: BlobDigest, size: int) -> str:
    """Return what ties a digest to its layer: nobody compares it with the bytes where a registry has them already."""
    return digest_of("\n".join((diff_id, maker, digest, str(size))).encode())


def boot_id() -> str:
    """Return what names this run of the kernel: a record `layer-BOOT` is of a layer that may not be on disk yet.

    After a crash of the machine it is no record any more, and the layer is as if it were not there.
    """
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def settle_layers(layout: Layout, names: Sequence[str]) -> None:
    """Bring those of the layers `names` to disk that are not there yet. The caller has pinned them."""
    pending = [name for name in names if not os.path.exists(layout.path("layers", name, "layer"))]
    if not pending:
        return
    from lamina.linux.files import syncfs

    marked = f"layer-{boot_id()}"
    fd = os.open(layout.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        syncfs(fd)
        for name in pending:
            try:
                os.rename(layout.path("layers", name, marked), layout.path("layers", name, "layer"))
            except FileNotFoundError:  # another build has done it
                pass
        syncfs(fd)
    finally:
        os.close(fd)


def tree_path(layout: Layout, name: str) -> str:
    """Return the directory of changes."""
    return layout.path("layers", name, "tree")


def owners_path(layout: Layout, name: str) -> str:
    """Return the table of owners."""
    return layout.path("layers", name, "owners")


def chain_of(layout: Layout, names: Sequence[str]) -> ChainId | None:
    """Return the chain id of the layers `names`, base first; None for no layers."""
    chain: ChainId | None = None
    for name in names:
        chain = next_chain_id(chain, read_layer(layout, name).diff_id)
    return chain
