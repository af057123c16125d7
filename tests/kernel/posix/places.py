"""The file systems that are compared: a plain directory, the kernel's overlay, and ours through FUSE."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lamina.overlay.fuse.start import start
from lamina.overlay.stack import Overlay
from tests.helpers.unions import mount_kernel, unmount

NAMES = ("plain", "kernel", "fuse")


@contextmanager
def place(name: str, scratch: Path, prepare: Callable[[Path], None]) -> Iterator[Path]:
    """Give a directory of that file system with what `prepare` makes in it, which lies in a layer of the unions."""
    folder = scratch / name
    for part in ("lower", "upper", "work", "merged"):
        (folder / part).mkdir(parents=True)
    prepare(folder / "lower")
    if name == "plain":
        yield folder / "lower"
        return
    merged = folder / "merged"
    if name == "kernel":
        mount_kernel([folder / "lower"], folder / "upper", folder / "work", merged, "redirect_dir=on", "index=on")
        server = None
    else:
        overlay = Overlay([str(folder / "lower")], upper=str(folder / "upper"), work=str(folder / "work"))
        server = start(overlay, str(merged), allow_other=True)
    try:
        yield merged
    finally:
        unmount(merged)
        if server is not None:
            assert server.wait_end() == 0
