"""The kernel's overlay is the oracle: random layers and operations give the same answers and the same trees."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from lamina.overlay.union.union import Union
from tests.helpers.union_machine import Machine, run_machine
from tests.helpers.unions import InProcess, Item, Mounted, make_layers, mount_kernel, snapshot, unmount

pytestmark = pytest.mark.requires("root", "overlay")

# What the union always does: directories are renamed by redirects, hard links survive copy-up.
OPTIONS = ("redirect_dir=on", "index=on", "metacopy=off", "xino=off")


class KernelAndUnion(Machine):
    """The kernel's mount on the left, the union in the process on the right."""

    scratch: Path
    union: Union | None = None

    def start(self, layers: list[list[Item]]) -> None:
        self.top = Path(tempfile.mkdtemp(dir=self.scratch))
        self.layers = make_layers(self.top, layers)
        for name in ("upper-k", "work-k", "upper-u", "work-u", "merged"):
            (self.top / name).mkdir()
        self.mounted = self.top / "merged"
        # Started first: where it fails, nothing is mounted.
        self.union = Union(self.layers, upper=self.top / "upper-u", work=self.top / "work-u", sync=False)
        mount_kernel(self.layers, self.top / "upper-k", self.top / "work-k", self.mounted, *OPTIONS)
        self.left, self.right = Mounted(self.mounted), InProcess(self.union)

    def teardown(self) -> None:
        if self.union is None:
            return
        try:
            before = snapshot(self.left)
        finally:
            self.union.close()
            unmount(self.mounted)
        try:
            # Each reads what the other wrote.
            with Union(self.layers, upper=self.top / "upper-k", work=self.top / "work-k", sync=False) as union:
                assert snapshot(InProcess(union)) == before
            mount_kernel(self.layers, self.top / "upper-u", self.top / "work-u", self.mounted, *OPTIONS)
            try:
                assert snapshot(Mounted(self.mounted)) == before
            finally:
                unmount(self.mounted)
        finally:
            shutil.rmtree(self.top)


def test_same_as_the_kernel(scratch: Path) -> None:
    KernelAndUnion.scratch = scratch
    previous = os.umask(0o022)
    try:
        run_machine(KernelAndUnion, examples=50, steps=25)
    finally:
        os.umask(previous)
