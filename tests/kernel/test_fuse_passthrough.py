"""`-o passthrough`: the kernel reads large files of layers itself, and everything else is as without it."""

from __future__ import annotations

import mmap
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from lamina.errors import UsageError
from lamina.overlay.fuse.lending import SMALLEST
from lamina.overlay.fuse.start import Server, start
from lamina.overlay.stack import Overlay
from tests.helpers.unions import unmount

pytestmark = pytest.mark.requires("root", "fuse", "passthrough")

LARGE = os.urandom(SMALLEST + 12345)
SMALL = b"small"


@pytest.fixture
def mounted(scratch: Path) -> Iterator[tuple[Path, Server]]:
    for name in ("layer", "merged"):
        (scratch / name).mkdir()
    (scratch / "layer/large").write_bytes(LARGE)
    (scratch / "layer/small").write_bytes(SMALL)
    overlay = Overlay([str(scratch / "layer")], options=(("passthrough", ""),))
    top = scratch / "merged"
    server = start(overlay, str(top), allow_other=True)
    try:
        yield top, server
    finally:
        unmount(top)
        assert server.wait_end() == 0
    assert not server.trouble


def test_a_large_file_is_read_without_the_server(mounted: tuple[Path, Server]) -> None:
    top, server = mounted
    fd = os.open(top / "large", os.O_RDONLY)
    woken = threading.Timer(20, os.kill, (server.pid, signal.SIGCONT))  # a reading that asks it hangs no test
    woken.start()
    os.kill(server.pid, signal.SIGSTOP)
    try:
        data = os.pread(fd, len(LARGE) + 1, 0)
        assert woken.is_alive()
    finally:
        woken.cancel()
        os.kill(server.pid, signal.SIGCONT)
        os.close(fd)
        woken.join()
    assert data == LARGE
    assert (top / "small").read_bytes() == SMALL


def test_it_is_read_by_several_and_mapped(mounted: tuple[Path, Server]) -> None:
    top, _ = mounted
    for _ in range(2):  # lent again once all have closed it
        with open(top / "large", "rb") as one, open(top / "large", "rb") as other:
            other.seek(SMALLEST)
            assert (one.read(), other.read()) == (LARGE, LARGE[SMALLEST:])
            with mmap.mmap(one.fileno(), 0, prot=mmap.PROT_READ) as mapped:
                assert mapped[-100:] == LARGE[-100:]


def test_nothing_is_opened_for_writing(mounted: tuple[Path, Server]) -> None:
    top, _ = mounted
    with open(top / "large", "rb"):
        for name in ("large", "small"):
            with pytest.raises(OSError, match="Read-only"):
                os.open(top / name, os.O_RDWR)


def test_an_upper_is_refused(scratch: Path) -> None:
    for name in ("layer", "upper", "work", "merged"):
        (scratch / name).mkdir()
    overlay = Overlay(
        [str(scratch / "layer")],
        upper=str(scratch / "upper"),
        work=str(scratch / "work"),
        options=(("passthrough", ""),),
    )
    with pytest.raises(UsageError, match="passthrough: a union with an upper"):
        start(overlay, str(scratch / "merged"))


def test_it_takes_no_value(scratch: Path) -> None:
    for name in ("layer", "merged"):
        (scratch / name).mkdir()
    overlay = Overlay([str(scratch / "layer")], options=(("passthrough", "yes"),))
    with pytest.raises(UsageError, match="passthrough=yes: it takes no value"):
        start(overlay, str(scratch / "merged"))
