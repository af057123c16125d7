"""A million random operations on the data of a file: through FUSE and in the process what a plain file would hold."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lamina.overlay.fuse.start import start
from lamina.overlay.stack import Overlay
from lamina.overlay.union.union import Union
from tests.helpers.effort import effort
from tests.helpers.model_file import ModelFile, Opener
from tests.helpers.unions import unmount

pytestmark = pytest.mark.requires("root", "overlay", "fuse")

SEEDS = range(effort(short=3, long=16))
_OPERATIONS = effort(short=3000, long=1_000_000) // len(SEEDS)
_AT_ONCE = effort(short=350, long=10_000)  # operations of one mount


@contextmanager
def _mounted(top: Path) -> Iterator[Opener]:
    overlay = Overlay([str(top / "lower")], upper=str(top / "upper"), work=str(top / "work"))
    server = start(overlay, str(top / "merged"))
    try:
        yield lambda: os.open(top / "merged/file", os.O_RDWR | os.O_CLOEXEC)
    finally:
        unmount(top / "merged")
        assert server.wait_end() == 0, server.trouble


@contextmanager
def _in_process(top: Path) -> Iterator[Opener]:
    with Union([top / "lower"], upper=top / "upper", work=top / "work") as union:
        yield lambda: union.os_open("file", os.O_RDWR)


@pytest.mark.parametrize("kind", ["fuse", "process"])
@pytest.mark.parametrize("seed", SEEDS)
def test_data_are_those_of_a_plain_file(scratch: Path, kind: str, seed: int) -> None:
    for name in ("lower", "upper", "work", "merged"):
        (scratch / name).mkdir()
    below, other = random.Random(seed).randbytes(100_000), random.Random(~seed).randbytes(50_000)
    (scratch / "lower/file").write_bytes(below)
    (scratch / "lower/source").write_bytes(other)
    opened = _mounted if kind == "fuse" else _in_process
    source = scratch / ("merged/source" if kind == "fuse" else "lower/source")
    model: ModelFile | None = None
    for begin in range(0, _OPERATIONS, _AT_ONCE):
        with opened(scratch) as opener:
            fd = os.open(source, os.O_RDONLY)
            try:
                if model is None:
                    model = ModelFile(opener, below, seed, source=fd, source_data=other)
                else:
                    model.reopen(opener, source=fd)
                for _ in range(min(_AT_ONCE, _OPERATIONS - begin)):
                    model.step()
                model.compare()
            finally:
                os.close(fd)
                if model is not None:
                    model.close()
    assert model is not None
    assert (scratch / "upper/file").read_bytes() == model.data
    assert (scratch / "lower/file").read_bytes() == below
