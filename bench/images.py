"""Images to measure with: many files of the sizes that distributions have, half of each compressible."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import random
import tarfile
from pathlib import Path

_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def make_layout(path: Path, *, layers: int, files: int, size: int, zipped: bool) -> None:
    """Write an OCI image layout of `layers` layers with `files` files and about `size` bytes in all.

    The same arguments give the same bytes.
    """
    (path / "blobs" / "sha256").mkdir(parents=True)
    diff_ids, descriptors = [], []
    for number in range(layers):
        tar = _layer(number, files // layers, size // layers)
        diff_ids.append(f"sha256:{hashlib.sha256(tar).hexdigest()}")
        data = gzip.compress(tar, 6, mtime=0) if zipped else tar
        descriptors.append(_put(path, data, f"{_LAYER}+gzip" if zipped else _LAYER))
    config = {
        "architecture": "amd64", "os": "linux", "config": {"Cmd": ["sh"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    }  # fmt: skip
    document = {
        "schemaVersion": 2,
        "mediaType": _MANIFEST,
        "config": _put(path, json.dumps(config).encode(), _CONFIG),
        "layers": descriptors,
    }
    entry = _put(path, json.dumps(document).encode(), _MANIFEST)
    entry["annotations"] = {"org.opencontainers.image.ref.name": "docker.io/bench/image:1"}
    (path / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    (path / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')


def _put(path: Path, data: bytes, media_type: str) -> dict[str, object]:
    name = hashlib.sha256(data).hexdigest()
    (path / "blobs" / "sha256" / name).write_bytes(data)
    return {"mediaType": media_type, "digest": f"sha256:{name}", "size": len(data)}


def _layer(number: int, files: int, size: int) -> bytes:
    source = random.Random(number)
    words = source.randbytes(4096)
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        directory = _directory(tar, f"layer{number}")
        for place in range(files):
            if place % 50 == 0:
                directory = _directory(tar, f"layer{number}/d{place // 50}")
            length = min(int(source.expovariate(files / size)), 8 << 20)
            half = length // 2
            data = source.randbytes(half) + (words * (half // len(words) + 1))[: length - half]
            info = tarfile.TarInfo(f"{directory}/f{place}")
            info.size, info.mtime = len(data), 1700000000
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def _directory(tar: tarfile.TarFile, name: str) -> str:
    info = tarfile.TarInfo(name)
    info.type, info.mode = tarfile.DIRTYPE, 0o755
    tar.addfile(info)
    return name
