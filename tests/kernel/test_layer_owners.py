"""Where files have one id, the table of owners keeps the others: through apply, copy-up and capture."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from lamina.layer import owners
from lamina.layer.owners import Owner
from lamina.tar import entry as kinds
from tests.helpers import layers, probes
from tests.helpers.archives import archive, directory, hardlink, item, symlink
from tests.helpers.layers import Layer

pytestmark = pytest.mark.requires("mounts")

_NULL = item(b"null", kinds.CHARDEV, major=1, minor=3, gid=5)
_OWNED = [
    directory(b"./"), directory(b"home/", uid=1000, gid=1000), item(b"home/f", uid=1000, gid=100, content=b"1"),
    item(b"su", uid=6, mode=0o4755), item(b"sg", gid=42, mode=0o2755), item(b"root", mode=0o4755),
    hardlink(b"home/g", b"home/f"), symlink(b"s", b"x"), item(b"odd \n\\\xff", uid=7),
]  # fmt: skip


@pytest.fixture
def owned(scratch: Path) -> Layer:
    """A layer with owners in a place that has one id."""
    return layers.apply(archive(scratch / "tar", *_OWNED), scratch / "owned", single_id=True)


def test_owners_are_written_down(scratch: Path, owned: Layer) -> None:
    assert owners.read(str(owned.path / "owners")) == {
        b"home": Owner(1000, 1000), b"home/f": Owner(1000, 100), b"home/g": Owner(1000, 100),
        b"su": Owner(6, 0, 0o4755), b"sg": Owner(0, 42, 0o2755), b"odd \n\\\xff": Owner(7, 0),
    }  # fmt: skip
    assert stat.S_IMODE((owned.tree / "su").stat().st_mode) == 0o755
    assert stat.S_IMODE((owned.tree / "root").stat().st_mode) == 0o4755
    lines = (owned.path / "owners").read_bytes().splitlines()
    assert b"6:0 mode=4755 /su" in lines
    assert rb"7:0 /odd\x20\x0a\x5c\xff" in lines
    assert layers.assemble(owned, scratch / "again").read_bytes() == (scratch / "tar").read_bytes()


def test_devices_are_written_down_where_they_cannot_be_made(scratch: Path) -> None:
    layer = layers.apply(archive(scratch / "tar", _NULL), scratch / "layer")
    found = (layer.tree / "null").lstat()
    if probes.who() == "root":
        assert stat.S_ISCHR(found.st_mode) and found.st_rdev == os.makedev(1, 3)
        return
    assert stat.S_ISREG(found.st_mode) and not found.st_size
    assert owners.read(str(layer.path / "owners")) == {b"null": Owner(0, 5, device=(b"3", 1, 3))}
    upper = scratch / "upper"
    upper.mkdir()
    (upper / "null").touch(mode=0o600)  # as a copy-up leaves it
    captured = layers.capture([("", upper)], scratch / "captured", [layer])
    assert owners.read(str(captured.path / "owners"))[b"null"].device == (b"3", 1, 3)


def test_copied_up_files_keep_their_owners(scratch: Path, owned: Layer) -> None:
    upper = scratch / "upper"
    (upper / "home").mkdir(parents=True)
    (upper / "home/f").write_bytes(b"changed")
    (upper / "su").touch(mode=0o755)
    (upper / "fresh").touch()
    layer = layers.capture([("", upper)], scratch / "captured", [owned], single_id=True)
    assert owners.read(str(layer.path / "owners")) == {
        b"home": Owner(1000, 1000), b"home/f": Owner(1000, 100), b"su": Owner(6, 0, 0o4755),
    }  # fmt: skip


def test_an_owner_of_a_middle_layer_counts(scratch: Path, owned: Layer) -> None:
    middle = layers.apply(archive(scratch / "tar2", item(b"su")), scratch / "middle", [owned], single_id=True)
    assert not middle.tables
    upper = scratch / "upper"
    upper.mkdir()
    (upper / "su").touch(mode=0o644)
    layer = layers.capture([("", upper)], scratch / "captured", [owned, middle], single_id=True)
    assert not layer.tables


def test_an_id_outside_the_map_is_named(scratch: Path) -> None:
    if probes.who() == "root":
        return
    path = archive(scratch / "tar", item(b"far", uid=4_000_000_000))
    with pytest.raises(Exception, match=r"cannot apply far: its owner 4000000000:0 is outside the id map") as caught:
        layers.apply(path, scratch / "layer", single_id=False)
    assert "/etc/subuid" in getattr(caught.value, "hint", "")
