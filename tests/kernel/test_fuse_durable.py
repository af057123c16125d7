"""What our mount keeps: the upper after the server was killed at any moment."""

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
from tests.helpers.effort import effort
from tests.helpers.unions import Mounted, mount_kernel, snapshot, unmount

pytestmark = pytest.mark.requires("root", "overlay", "fuse")


def _places(top: Path) -> None:
    for name in ("lower", "upper", "work", "merged"):
        (top / name).mkdir()


def _serve(top: Path) -> Server:
    overlay = Overlay([str(top / "lower")], upper=str(top / "upper"), work=str(top / "work"))
    return start(overlay, str(top / "merged"))


_WRITER = """
import os, sys
os.chdir(sys.argv[1])
for number in range(40):
    fd = os.open(f"file{number}", os.O_WRONLY)
    os.pwrite(fd, b"new", 0)
    os.close(fd)
    os.rename(f"dir{number}", f"moved{number}")
    os.unlink(f"gone{number}")
    fd = os.open(f"made{number}", os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    os.write(fd, b"made" * 5000)
    os.close(fd)
    os.rename(f"made{number}", f"over{number}")
    os.chmod(f"moved{number}/inside", 0o600)
    os.link(f"twin{number}", f"link{number}")
    os.mkdir(f"empty{number}")
    os.rename(f"empty{number}", f"full{number}/empty")
"""


def _fill_lower(lower: Path) -> None:
    lower.mkdir()
    for number in range(40):
        (lower / f"file{number}").write_bytes(b"old" + b"x" * 200_000)
        (lower / f"dir{number}").mkdir()
        (lower / f"dir{number}/inside").write_text("inside")
        (lower / f"gone{number}").touch()
        (lower / f"over{number}").write_bytes(b"over")
        (lower / f"twin{number}").write_text("twin")
        (lower / f"full{number}").mkdir()


@pytest.mark.parametrize("share", range(4))  # so that none takes minutes
def test_killed_at_any_moment(scratch: Path, share: int) -> None:
    _fill_lower(scratch / "lower")
    moments = random.Random(share)
    for turn in range(effort(short=3, long=25)):
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
            delay = moments.uniform(0, 0.3)
            while not any((top / "work").iterdir()) and writer.poll() is None:
                begun = time.monotonic()
            while time.monotonic() < begun + delay:
                pass
            os.kill(server.pid, signal.SIGKILL)
            assert server.wait_end() == -signal.SIGKILL
            writer.wait()
        with pytest.raises(OSError, match="Transport endpoint is not connected"):
            os.listdir(top / "merged")
        unmount(top / "merged")
        mount_kernel([top / "lower"], top / "upper", top / "work", top / "merged", "redirect_dir=on", "index=on")
        try:
            _check(top / "merged")
            seen = snapshot(Mounted(top / "merged"))
        finally:
            unmount(top / "merged")
        server = _serve(top)
        try:
            assert snapshot(Mounted(top / "merged")) == seen
            subprocess.run(["rm", "-rf", *(top / "merged").iterdir()], check=True)
        finally:
            unmount(top / "merged")
            assert server.wait_end() == 0


def _check(merged: Path) -> None:
    """See that everything is as before or as after."""
    for number in range(40):
        data = (merged / f"file{number}").read_bytes()
        assert len(data) == 200_003
        assert data[:3] in (b"old", b"new")
        assert data[3:] == b"x" * 200_000
        (folder,) = [name for name in (f"dir{number}", f"moved{number}") if (merged / name).exists()]
        assert (merged / folder / "inside").read_text() == "inside"
        if (merged / f"made{number}").exists():
            assert (merged / f"made{number}").read_bytes() in (b"", b"made" * 5000)
        assert (merged / f"over{number}").read_bytes() in (b"over", b"made" * 5000)
        twins = [merged / f"{name}{number}" for name in ("twin", "link") if (merged / f"{name}{number}").exists()]
        assert {(path.read_text(), path.stat().st_nlink) for path in twins} == {("twin", len(twins))}
        empty = [path for path in (merged / f"empty{number}", merged / f"full{number}/empty") if path.exists()]
        assert len(empty) <= 1


def test_after_the_server_died_the_mount_says_so(scratch: Path) -> None:
    _places(scratch)
    server = _serve(scratch)
    os.kill(server.pid, signal.SIGKILL)
    server.wait_end()
    with pytest.raises(OSError, match="Transport endpoint is not connected"):
        os.listdir(scratch / "merged")
    unmount(scratch / "merged")
