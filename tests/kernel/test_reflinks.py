"""Where the file system can, a file that is copied shares its blocks with what it is a copy of."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from lamina import Union
from tests.helpers.command import Lamina
from tests.helpers.disk import reflinking_disk, shares_all_blocks

pytestmark = pytest.mark.requires("root", "loop", "mkfs.xfs")

SIZE = 1 << 20


@pytest.fixture
def place(scratch: Path) -> Iterator[Path]:
    """Return directories on a file system that shares blocks, with a file in the layer that has its own."""
    with reflinking_disk(scratch) as path:
        for name in ("lower", "upper", "work", "merged"):
            (path / name).mkdir()
        (path / "lower/file").write_bytes(os.urandom(SIZE))
        assert not shares_all_blocks(path / "lower/file")
        yield path


def expect_shared(place: Path) -> None:
    copy, original = place / "upper/file", place / "lower/file"
    assert copy.read_bytes() == original.read_bytes() and copy.stat().st_ino != original.stat().st_ino
    assert shares_all_blocks(copy) and shares_all_blocks(original)


def test_copy_up_in_the_process(place: Path) -> None:
    with Union([place / "lower"], upper=place / "upper", work=place / "work") as union:
        union.copy_up("file")
    expect_shared(place)


@pytest.mark.requires("fuse")
def test_copy_up_through_a_mount(place: Path, lamina: Lamina) -> None:
    words = ("--layer", "lower", "--upper", "upper", "--work", "work", "merged")
    lamina("mount", "--driver", "fuse", *words, "--", "chmod", "600", "merged/file", cwd=place)
    expect_shared(place)


def test_a_part_that_is_written_alone_takes_room(place: Path) -> None:
    with (
        Union([place / "lower"], upper=place / "upper", work=place / "work") as union,
        union.open("file", "r+b") as file,
    ):
        file.write(b"x" * 4096)
    assert not shares_all_blocks(place / "upper/file")
    assert shares_all_blocks(place / "lower/file") is False
    copy, original = (place / "upper/file").read_bytes(), (place / "lower/file").read_bytes()
    assert copy[4096:] == original[4096:] and copy[:4096] == b"x" * 4096


@pytest.mark.requires("overlay")
def test_a_file_of_the_context_in_a_build(place: Path) -> None:
    lamina = Lamina(place / "store", cwd=place)
    (place / "lower/Dockerfile").write_text("FROM scratch\nCOPY file /kept\n")
    try:
        lamina("build", "--tag", "one:1", "lower")
        (layer,) = (place / "store").rglob("kept")
        assert layer.read_bytes() == (place / "lower/file").read_bytes()
        assert shares_all_blocks(layer) and shares_all_blocks(place / "lower/file")
    finally:
        lamina.empty_store()
