"""Images for tests of what moves them: two small layers, the second with a whiteout, and what a store has of them."""

from __future__ import annotations

import json
import tarfile
from io import BytesIO
from pathlib import Path

from tests.helpers.command import Lamina


def add(tar: tarfile.TarFile, name: str, content: bytes | None = b"", **fields: int) -> None:
    """Add a file, or a directory where `content` is None."""
    info = tarfile.TarInfo(name)
    info.mode = 0o755 if content is None else 0o644
    info.type = tarfile.DIRTYPE if content is None else tarfile.REGTYPE
    info.size = len(content or b"")
    info.mtime = 1700000000
    for key, value in fields.items():
        setattr(info, key, value)
    tar.addfile(info, BytesIO(content or b""))


def layer_bytes(number: int, *, whiteout: bool = False) -> bytes:
    """Return the tar of a layer: a directory, a file, perhaps a whiteout in a directory of the layer below."""
    data = BytesIO()
    with tarfile.open(fileobj=data, mode="w", format=tarfile.PAX_FORMAT) as tar:
        add(tar, "etc", None)
        add(tar, f"etc/layer{number}", f"layer {number}\n".encode() * 500, uid=3, gid=4)
        if whiteout:
            add(tar, "etc/.wh.layer1")
    return data.getvalue()


def rootfs_archive(path: Path, number: int = 1) -> Path:
    """Write a root file system as a tar."""
    path.write_bytes(layer_bytes(number))
    return path


def facts(lamina: Lamina, name: str) -> tuple[str, list[str], object]:
    """Return what must survive every way out and in: id, diff ids, settings."""
    (said,) = json.loads(lamina("inspect", name).stdout)
    return said["Id"], said["RootFS"]["Layers"], said["Config"]
