"""The kernel's overlay and ours through FUSE: the same random operations over the same random layers."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from lamina.overlay.fuse.start import Server, start
from lamina.overlay.stack import Overlay
from tests.helpers.union_machine import Machine, run_machine
from tests.helpers.unions import Item, Mounted, make_layers, mount_kernel, snapshot, unmount

pytestmark = pytest.mark.requires("root", "overlay", "fuse")

OPTIONS = ("redirect_dir=on", "index=on", "metacopy=off", "xino=off")


class KernelAndFuse(Machine):
    """The kernel's mount on the left, ours on the right."""

    scratch: Path
    server: Server | None = None

    def start(self, layers: list[list[Item]]) -> None:
        self.top = Path(tempfile.mkdtemp(dir=self.scratch))
        self.layers = make_layers(self.top, layers)
        for name in ("upper-k", "work-k", "upper-f", "work-f", "kernel", "fuse"):
            (self.top / name).mkdir()
        self.server = self._serve("upper-f", "work-f")
        mount_kernel(self.layers, self.top / "upper-k", self.top / "work-k", self.top / "kernel", *OPTIONS)
        self.left, self.right = Mounted(self.top / "kernel"), Mounted(self.top / "fuse")

    def _serve(self, upper: str, work: str) -> Server:
        overlay = Overlay(
            [str(layer) for layer in self.layers],
            upper=str(self.top / upper),
            work=str(self.top / work),
            options=[("volatile", "")],
        )
        return start(overlay, str(self.top / "fuse"))

    def _stop(self) -> None:
        unmount(self.top / "fuse")
        assert self.server is not None, "started"
        assert self.server.wait_end() == 0, self.server.trouble

    def teardown(self) -> None:
        if self.server is None:
            return
        try:
            before = snapshot(self.left)
        finally:
            self._stop()
            unmount(self.top / "kernel")
        self.server = self._serve("upper-k", "work-k")
        try:
            assert snapshot(self.right) == before
        finally:
            self._stop()
        mount_kernel(self.layers, self.top / "upper-f", self.top / "work-f", self.top / "kernel", *OPTIONS)
        try:
            assert snapshot(self.left) == before
        finally:
            unmount(self.top / "kernel")
        shutil.rmtree(self.top)


def test_same_as_the_kernel(scratch: Path) -> None:
    KernelAndFuse.scratch = scratch
    previous = os.umask(0o022)
    try:
        run_machine(KernelAndFuse, examples=20, steps=30)
    finally:
        os.umask(previous)
