"""An archive that was never unpacked, mounted by our own driver."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

import lamina
from lamina.errors import LaminaError, Unsupported
from tests.helpers.archives import archive, directory, hardlink, item, symlink


@pytest.fixture
def layers(scratch: Path) -> list[Path]:
    """Return a directory and an archive over it, with an upper and a work directory beside them."""
    for name in ("base/d", "upper", "work"):
        (scratch / name).mkdir(parents=True)
    (scratch / "base/d/below").write_text("below")
    (scratch / "base/d/gone").write_text("gone")
    items = [
        directory(b"d/"), item(b"d/.wh.gone"), item(b"d/run", content=b"#!/bin/sh\necho ran\n", mode=0o755),
        hardlink(b"again", b"d/run"), symlink(b"link", b"d/run"), item(b"d/big", content=bytes(3 << 20)),
    ]  # fmt: skip
    return [scratch / "base", archive(scratch / "top.tar", *items)]


@pytest.mark.requires("fuse")
def test_an_archive_is_mounted(layers: list[Path], scratch: Path) -> None:
    with lamina.mount(layers, upper=scratch / "upper", work=scratch / "work", driver="fuse") as path:
        merged = Path(path)
        assert sorted(name.name for name in (merged / "d").iterdir()) == ["below", "big", "run"]
        assert subprocess.run([merged / "link"], capture_output=True, check=True).stdout == b"ran\n"
        assert (merged / "again").stat().st_ino == (merged / "d/run").stat().st_ino
        with open(merged / "d/run", "a") as file:
            file.write("echo more\n")
        assert subprocess.run([merged / "d/run"], capture_output=True, check=True).stdout == b"ran\nmore\n"
        assert (merged / "d/big").read_bytes() == bytes(3 << 20)
        (merged / "d").rename(merged / "e")
        assert (merged / "e/below").read_text() == "below"
    assert (scratch / "upper/e/run").read_text().endswith("echo more\n")


@pytest.mark.requires("root", "mounts")
def test_the_kernel_takes_none(layers: list[Path]) -> None:
    with pytest.raises(Unsupported, match="directory") as caught, lamina.mount(layers, driver="kernel"):
        pass
    assert "fuse" in caught.value.hint
    with lamina.mount(layers) as path:  # by itself, the driver that can is taken
        assert os.listdir(path + "/d")


def test_what_is_no_archive_is_refused(scratch: Path) -> None:
    text = scratch / "text"
    text.write_text("no archive" * 100)
    with pytest.raises(LaminaError, match=r"/text: .*not a tar archive"), lamina.mount([text], driver="fuse"):
        pass
