"""The base image of the corpus of builds, as an archive that every builder loads: busybox, some users, some links."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import tarfile
from pathlib import Path

#: What Dockerfiles call it.
BASE = "base:1"

_TIME = 946684800  # 2000-01-01, of everything in it
_APPLETS = ("sh", "cat", "chmod", "chown", "cp", "echo", "env", "find", "grep", "id", "ln", "ls", "mkdir", "mkfifo")
_APPLETS_MORE = (
    "mknod",
    "mv",
    "pwd",
    "readlink",
    "rm",
    "rmdir",
    "sort",
    "stat",
    "test",
    "touch",
    "true",
    "wc",
    "whoami",
)
_FOLDERS = {"bin": 0o755, "dev": 0o755, "etc": 0o755, "home": 0o755, "home/app": 0o750, "proc": 0o555, "srv": 0o755}
_MORE_FOLDERS = {"srv/old": 0o755, "sys": 0o555, "tmp": 0o1777, "var": 0o755, "var/data": 0o2775}
_FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\nweb:x:33:44::/srv:/bin/sh\n",
    "etc/group": "root:x:0:\napp:x:1000:\nwww:x:44:web\nstaff:x:50:app\n",
    "etc/file": "of the base\n",
    "etc/hosts": "",
    "etc/resolv.conf": "",
    "srv/old/kept": "kept\n",
}
_LINKS = {"there": "srv", "srv/up": "../var/data", "etc/alias": "file", "out": "../../outside", "abs": "/var/data"}


def write_base(path: Path) -> Path:
    """Write the archive, in docker's form, and return its path."""
    layer = _layer()
    diff_id = f"sha256:{hashlib.sha256(layer).hexdigest()}"
    config = {
        "architecture": "amd64",
        "os": "linux",
        "created": "2000-01-01T00:00:00Z",
        "config": {"Env": ["PATH=/bin"], "Cmd": ["sh"]},
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
        "history": [{"created": "2000-01-01T00:00:00Z", "created_by": "base"}],
    }
    data = json.dumps(config).encode()
    name = f"{hashlib.sha256(data).hexdigest()}.json"
    manifest = [{"Config": name, "RepoTags": [BASE], "Layers": ["layer.tar"]}]
    with tarfile.open(path, "w") as archive:
        for member, content in (("layer.tar", layer), (name, data), ("manifest.json", json.dumps(manifest).encode())):
            archive.addfile(_info(member, size=len(content)), io.BytesIO(content))
    return path


def _layer() -> bytes:
    buffer = io.BytesIO()
    busybox = shutil.which("busybox")
    assert busybox, "busybox is not installed"
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as layer:
        for folder, mode in (_FOLDERS | _MORE_FOLDERS).items():
            owner = 1000 if folder == "home/app" else 0
            layer.addfile(_info(folder, tarfile.DIRTYPE, mode=mode, owner=owner))
        content = Path(busybox).read_bytes()
        layer.addfile(_info("bin/busybox", mode=0o755, size=len(content)), io.BytesIO(content))
        for applet in _APPLETS + _APPLETS_MORE:
            layer.addfile(_info(f"bin/{applet}", tarfile.SYMTYPE, target="busybox"))
        for name, text in _FILES.items():
            layer.addfile(_info(name, size=len(text)), io.BytesIO(text.encode()))
        for name, target in _LINKS.items():
            layer.addfile(_info(name, tarfile.SYMTYPE, target=target))
    return buffer.getvalue()


def _info(
    name: str, kind: bytes = tarfile.REGTYPE, *, mode: int = 0o644, size: int = 0, target: str = "", owner: int = 0
) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.size, info.linkname, info.mtime = kind, mode, size, target, _TIME
    info.uid = info.gid = owner
    return info
