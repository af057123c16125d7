"""What our mount keeps: random writes against a model, and the upper after the server was killed at any moment."""

from __future__ import annotations

import mmap
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lamina.linux.handle import fallocate
from lamina.overlay.fuse.start import Server, start
from lamina.overlay.stack import Overlay
from tests.helpers.unions import mount_kernel, unmount

pytestmark = pytest.mark.requires("root", "overlay", "fuse")

KEEP_SIZE_AND_PUNCH, ZERO = 3, 16
_LARGEST = 300_000


def _places(top: Path) -> None:
    for name in ("lower", "upper", "work", "merged"):
        (top / name).mkdir()


def _serve(top: Path) -> Server:
    overlay = Overlay([str(top / "lower")], upper=str(top / "upper"), work=str(top / "work"))
    return start(overlay, str(top / "merged"))


class _Model:
    """A file and what it should hold; each change is made to both."""

    def __init__(self, path: Path, seed: int) -> None:
        self.path = path
        self.fd = os.open(path, os.O_RDWR)
        self.data = bytearray(path.read_bytes())
        self.random = random.Random(seed)
        self.steps = (self.write, self.read, self.truncate, self.punch, self.zero, self.map, self.copy, self.read_map)

    def span(self, largest: int = 60_000) -> tuple[int, int]:
        start = self.random.randrange(_LARGEST)
        return start, self.random.randrange(1, min(largest, _LARGEST - start) + 1)

    def _grow(self, end: int) -> None:
        self.data.extend(bytes(max(0, end - len(self.data))))

    def write(self) -> None:
        start, length = self.span()
        data = self.random.randbytes(length)
        assert os.pwrite(self.fd, data, start) == length
        self._grow(start)
        self.data[start : start + length] = data

    def read(self) -> None:
        start, length = self.span()
        assert os.pread(self.fd, length, start) == self.data[start : start + length]

    def truncate(self) -> None:
        size = self.random.randrange(_LARGEST)
        os.ftruncate(self.fd, size)
        del self.data[size:]
        self._grow(size)

    def punch(self) -> None:
        start, length = self.span()
        fallocate(self.fd, KEEP_SIZE_AND_PUNCH, start, length)
        end = min(start + length, len(self.data))
        if start < end:
            self.data[start:end] = bytes(end - start)

    def zero(self) -> None:
        start, length = self.span()
        fallocate(self.fd, ZERO, start, length)
        self._grow(start + length)
        self.data[start : start + length] = bytes(length)

    def map(self) -> None:
        if not self.data:
            return
        start = self.random.randrange(len(self.data))
        data = self.random.randbytes(self.random.randrange(1, min(9000, len(self.data) - start) + 1))
        with mmap.mmap(self.fd, len(self.data)) as mapped:
            mapped[start : start + len(data)] = data
        self.data[start : start + len(data)] = data

    def read_map(self) -> None:
        if self.data:
            with mmap.mmap(self.fd, len(self.data), prot=mmap.PROT_READ) as mapped:
                assert mapped[:] == self.data

    def copy(self) -> None:
        if len(self.data) < 2:
            return
        half = len(self.data) // 2
        length = self.random.randrange(1, half + 1)
        done = os.copy_file_range(self.fd, self.fd, length, 0, half)
        self.data[half : half + done] = self.data[:done]


@pytest.mark.parametrize("seed", range(4))
def test_random_writes(scratch: Path, seed: int) -> None:
    _places(scratch)
    (scratch / "lower/file").write_bytes(random.Random(seed).randbytes(100_000))
    server = _serve(scratch)
    try:
        model = _Model(scratch / "merged/file", seed)
        for _ in range(400):
            model.random.choice(model.steps)()
        model.read_map()
        os.close(model.fd)
        assert (scratch / "merged/file").read_bytes() == model.data
    finally:
        unmount(scratch / "merged")
        assert server.wait_end() == 0
    assert (scratch / "upper/file").read_bytes() == model.data


_WRITER = """
import os, sys
for number in range(40):
    fd = os.open(f"{sys.argv[1]}/file{number}", os.O_WRONLY)
    os.pwrite(fd, b"new", 0)
    os.close(fd)
    os.rename(f"{sys.argv[1]}/dir{number}", f"{sys.argv[1]}/moved{number}")
    os.unlink(f"{sys.argv[1]}/gone{number}")
"""


def test_killed_at_any_moment(scratch: Path) -> None:
    (scratch / "lower").mkdir()
    for number in range(40):
        (scratch / f"lower/file{number}").write_bytes(b"old" + b"x" * 200_000)
        (scratch / f"lower/dir{number}").mkdir()
        (scratch / f"lower/dir{number}/inside").write_text("inside")
        (scratch / f"lower/gone{number}").touch()
    moments = random.Random(4)
    for turn in range(25):
        top = scratch / str(turn)
        top.mkdir()
        for name in ("upper", "work", "merged"):
            (top / name).mkdir()
        (top / "lower").symlink_to(scratch / "lower")
        server = _serve(top)
        with subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(top / "merged")], stderr=subprocess.DEVNULL
        ) as writer:
            begun = time.monotonic()
            delay = moments.uniform(0.005, 0.12)
            while not (top / "upper/file0").exists() and writer.poll() is None:
                begun = time.monotonic()
            while time.monotonic() < begun + delay:
                pass
            os.kill(server.pid, signal.SIGKILL)
            assert server.wait_end() == -signal.SIGKILL
            writer.wait()
        unmount(top / "merged")
        _check(top)


def _check(top: Path) -> None:
    """Mount the upper by the kernel, and see that everything is as before or as after."""
    mount_kernel([top / "lower"], top / "upper", top / "work", top / "merged", "redirect_dir=on", "index=on")
    merged = top / "merged"
    try:
        for number in range(40):
            data = (merged / f"file{number}").read_bytes()
            assert len(data) == 200_003
            assert data[:3] in (b"old", b"new")
            names = [name for name in (f"dir{number}", f"moved{number}") if (merged / name).exists()]
            assert len(names) == 1
            assert (merged / names[0] / "inside").read_text() == "inside"
    finally:
        unmount(merged)


def test_after_the_server_died_the_mount_says_so(scratch: Path) -> None:
    _places(scratch)
    server = _serve(scratch)
    os.kill(server.pid, signal.SIGKILL)
    server.wait_end()
    with pytest.raises(OSError, match="Transport endpoint is not connected"):
        os.listdir(scratch / "merged")
    unmount(scratch / "merged")
