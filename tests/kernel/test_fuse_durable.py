"""What our mount keeps: random writes against a model, and the upper after the server was killed at any moment."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lamina.overlay.fuse.start import Server, start
from lamina.overlay.stack import Overlay
from tests.helpers.unions import mount_kernel, unmount

pytestmark = pytest.mark.requires("root", "overlay", "fuse")


def _places(top: Path) -> None:
    for name in ("lower", "upper", "work", "merged"):
        (top / name).mkdir()


def _serve(top: Path) -> Server:
    overlay = Overlay([str(top / "lower")], upper=str(top / "upper"), work=str(top / "work"))
    return start(overlay, str(top / "merged"))


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
