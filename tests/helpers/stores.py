"""Stores for tests, with layers made by hand: what a store does with layers does not depend on what they hold."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from lamina.ids.map import choose
from lamina.oci.config import ImageConfig, Settings, with_layer
from lamina.oci.digest import DiffId, digest_of, hex_of
from lamina.oci.platform import Platform
from lamina.oci.reference import parse_name
from lamina.store.images import ImageRecord
from lamina.store.layers import LayerRecord, encode_layer, read_layer
from lamina.store.layout import Layout, open_layout
from lamina.store.publish import publish_image, tar_descriptor
from lamina.store.staging import Staging


def open_store(path: Path) -> Layout:
    """Open the store at `path` as whoever runs the test."""
    return open_layout(str(path), choose(os.geteuid(), os.getegid()))


def add_layer(staging: Staging, content: str) -> str:
    """Publish a layer with one file, pinned, and return its name. The digest is that of the content, not of a tar."""
    diff_id = digest_of(content.encode())
    directory = Path(staging.new_path())
    (directory / "tree").mkdir(parents=True)
    (directory / "tree" / "file").write_text(content)
    size = len(content)
    name = f"diff-{hex_of(diff_id)}"
    layer = LayerRecord(name, DiffId(diff_id), size=size, content=size, entries=1, complete=True)
    (directory / "layer").write_bytes(encode_layer(layer))
    with staging.layout.publishing():
        staging.pin(f"layers/{name}")
        if not staging.publish_directory(str(directory), f"layers/{name}"):
            shutil.rmtree(directory)
    return name


def add_image(layout: Layout, name: str | None, *contents: str, settings: Settings | None = None) -> ImageRecord:
    """Publish an image of one layer for each of `contents`."""
    config = ImageConfig(Platform("linux", "amd64"))
    with Staging(layout) as staging:
        names = [add_layer(staging, content) for content in contents]
        for layer in names:
            diff_id = DiffId(read_layer(layout, layer).diff_id)
            config = with_layer(config, diff_id, settings=settings or Settings(), created=0, created_by=layer)
        layers = [tar_descriptor(read_layer(layout, layer)) for layer in names]
        reference = parse_name(name) if name else None
        return publish_image(staging, config, layers, names, reference=reference)


def things(path: Path) -> set[str]:
    """Return the names of layers, blobs, images and references of the store at `path`."""
    found = {f"layers/{entry.name}" for entry in (path / "layers").iterdir()}
    found |= {f"images/{entry.name}" for entry in (path / "images").iterdir()}
    found |= {f"blobs/{entry.name}" for entry in (path / "blobs/sha256").iterdir()}
    return found | {str(entry.relative_to(path)) for entry in (path / "refs").rglob(":*")}
