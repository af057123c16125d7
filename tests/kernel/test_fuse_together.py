"""Several processes at once on our mount: nothing fails that may not, and the kernel sees the same tree afterwards."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lamina.overlay.fuse.start import start
from lamina.overlay.stack import Overlay
from tests.helpers.unions import Mounted, mount_kernel, snapshot, unmount

pytestmark = pytest.mark.requires("root", "overlay", "fuse")

# What may fail where names come and go meanwhile; anything else (EIO, ESTALE) is a defect.
_WORKER = """
import errno, os, random, sys, time
top, seed, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
os.chdir(top)
chance = random.Random(seed)
may_be = {errno.ENOENT, errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR, errno.EISDIR, errno.EPERM, errno.ELOOP}
may_be.add(errno.EINVAL)  # a directory into itself
names = [f"n{i}" for i in range(6)]

def path():
    return "/".join(chance.choices(names, k=chance.randrange(1, 4)))

def write():
    with open(path(), "r+b" if chance.random() < 0.5 else "wb") as file:
        file.write(b"x" * chance.randrange(20000))

def read():
    with open(path(), "rb") as file:
        file.read()

def link():
    os.link(path(), path(), follow_symlinks=False)

def remove():
    p = path()
    try:
        os.unlink(p)
    except IsADirectoryError:
        os.rmdir(p)

def walk():
    for folder, directories, files in os.walk("."):
        for name in directories + files:
            os.lstat(os.path.join(folder, name))

steps = [write, write, read, link, remove, walk,
         lambda: os.mkdir(path()), lambda: os.mkdir(path()), lambda: os.rename(path(), path()),
         lambda: os.rename(path(), path()), lambda: os.chmod(path(), 0o640), lambda: os.truncate(path(), 100),
         lambda: os.symlink("n0", path()), lambda: os.setxattr(path(), "user.x", b"1"), lambda: os.listdir(path())]
end, done = time.monotonic() + seconds, 0
while time.monotonic() < end:
    try:
        chance.choice(steps)()
    except OSError as error:
        if error.errno not in may_be:
            raise
    done += 1
assert done > 50, done
"""


def _make(top: Path) -> list[Path]:
    layers = [top / "base", top / "middle"]
    for number, layer in enumerate(layers):
        for first in range(4):
            for second in range(3):
                folder = layer / f"n{first}" / f"n{second}"
                folder.mkdir(parents=True)
                (folder / f"n{number}").write_text("from below" * 500)
        (layer / f"n{4 + number}").write_text("a file")
    return layers


def test_many_at_once(scratch: Path, seconds: float = 4.0) -> None:
    layers = _make(scratch)
    for name in ("upper", "work", "merged"):
        (scratch / name).mkdir()
    merged = scratch / "merged"
    overlay = Overlay(
        [str(layer) for layer in layers],
        upper=str(scratch / "upper"),
        work=str(scratch / "work"),
        options=[("volatile", "")],
    )
    server = start(overlay, str(merged), threads=4)
    try:
        workers = [
            subprocess.Popen(
                [sys.executable, "-c", _WORKER, str(merged), str(seed), str(seconds)],
                stderr=subprocess.PIPE,
                text=True,
            )
            for seed in range(5)
        ]
        said = [worker.communicate()[1] for worker in workers]
        assert said == [""] * len(workers)
        ours = snapshot(Mounted(merged))
    finally:
        unmount(merged)
        assert server.wait_end() == 0
    mount_kernel(layers, scratch / "upper", scratch / "work", merged, "redirect_dir=on", "index=on")
    try:
        assert snapshot(Mounted(merged)) == ours
    finally:
        unmount(merged)
