"""OCI image layouts made by hand, right or wrong in any part."""

from __future__ import annotations

import gzip
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"


def digest(data: bytes) -> str:
    """Return the sha256 digest of some bytes."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@dataclass(slots=True)
class Made:
    """Blobs by digest, and what an index lists."""

    blobs: dict[str, bytes] = field(default_factory=dict)
    listed: list[dict[str, Any]] = field(default_factory=list)

    def blob(self, data: bytes, media_type: str, **more: Any) -> dict[str, Any]:
        """Add a blob and return its descriptor."""
        self.blobs[digest(data)] = data
        return {"mediaType": media_type, "digest": digest(data), "size": len(data), **more}

    def document(self, value: object, media_type: str, **more: Any) -> dict[str, Any]:
        """Add a JSON document."""
        return self.blob(json.dumps(value).encode(), media_type, **more)

    def image(
        self, *tars: bytes, zipped: bool = True, architecture: str = "amd64", stored: list[bytes] | None = None
    ) -> dict[str, Any]:
        """Add an image of these layers and return the manifest's descriptor; `stored` are the blobs in their place."""
        config = {
            "architecture": architecture,
            "os": "linux",
            "config": {"Env": ["A=b"], "Cmd": ["sh"]},
            "rootfs": {"type": "layers", "diff_ids": [digest(tar) for tar in tars]},
        }
        blobs = stored or [gzip.compress(tar, mtime=0) if zipped else tar for tar in tars]
        kind = f"{LAYER}+gzip" if zipped else LAYER
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self.document(config, CONFIG),
            "layers": [self.blob(blob, kind) for blob in blobs],
        }
        return self.document(manifest, MANIFEST)

    def list(self, descriptor: dict[str, Any], name: str = "") -> None:
        """List an image in the index."""
        annotations = {"annotations": {"io.containerd.image.name": name}} if name else {}
        self.listed.append({**descriptor, **annotations})

    def write(self, path: Path) -> Path:
        """Write the layout as a directory."""
        (path / "blobs" / "sha256").mkdir(parents=True)
        (path / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
        (path / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": self.listed}))
        for name, data in self.blobs.items():
            (path / "blobs" / "sha256" / name.partition(":")[2]).write_bytes(data)
        return path
