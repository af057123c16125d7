"""What entries of an archive become, by OCI's rules for change sets."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from lamina.errors import StoreError
from lamina.layer import jobs
from lamina.overlay import format as marks
from lamina.tar import entry as kinds
from tests.helpers import layers
from tests.helpers.archives import archive, directory, hardlink, item, symlink
from tests.helpers.layers import Layer

SINGLE = os.geteuid() != 0


def _layer(scratch: Path, name: str, below: list[Layer], *items: bytes, single_id: bool = SINGLE) -> Layer:
    """Apply these entries, and make the archive again from the layer."""
    path = archive(scratch / f"{name}.tar", *items)
    layer = layers.apply(path, scratch / name, below, single_id=single_id)
    assert layers.assemble(layer, scratch / f"{name}.again").read_bytes() == path.read_bytes()
    return layer


@pytest.fixture
def base(tmp_path: Path) -> Layer:
    """A layer with a few names to change."""
    items = [
        directory(b"./", mode=0o751), directory(b"d/", mode=0o711, mtime=5), item(b"d/a", content=b"a"), item(b"d/b"),
        directory(b"d/e/"), item(b"d/e/f"), symlink(b"l", b"d"), item(b"f", content=b"f", mtime=7),
    ]  # fmt: skip
    return _layer(tmp_path, "base", [], *items)


def _is_whiteout(path: Path) -> bool:
    return marks.is_whiteout_device(path.lstat())


def _is_opaque(path: Path) -> bool:
    fd = os.open(path, os.O_RDONLY)
    try:
        return marks.opacity_of(fd) == b"y"
    finally:
        os.close(fd)


@pytest.mark.parametrize("late", [False, True])
def test_a_whiteout_acts_on_lower_layers_wherever_it_stands(tmp_path: Path, base: Layer, late: bool) -> None:
    items = [item(b"d/a", content=b"new"), item(b"d/.wh.a"), item(b"d/.wh.b"), directory(b"d/e/"), item(b"d/.wh.e")]
    if late:
        items.reverse()
    tree = _layer(tmp_path, "layer", [base], *items).tree
    assert (tree / "d/a").read_bytes() == b"new"
    assert _is_whiteout(tree / "d/b")
    assert _is_opaque(tree / "d/e")


@pytest.mark.parametrize("late", [False, True])
def test_opaque_hides_no_sibling(tmp_path: Path, base: Layer, late: bool) -> None:
    items = [item(b"d/.wh..wh..opq"), item(b"d/new"), item(b"d/.wh.a")]
    if late:
        items.reverse()
    tree = _layer(tmp_path, "layer", [base], directory(b"d/"), *items).tree
    assert sorted(os.listdir(tree / "d")) == ["new"]  # a whiteout in an opaque directory would show
    assert _is_opaque(tree / "d")


def test_the_top_hides_name_by_name(tmp_path: Path, base: Layer) -> None:
    layer = _layer(tmp_path, "layer", [base], item(b".wh..wh..opq"), directory(b"d/"), item(b"x"))
    assert sorted(os.listdir(layer.tree)) == ["d", "f", "l", "x"]
    assert _is_whiteout(layer.tree / "f") and _is_whiteout(layer.tree / "l") and _is_opaque(layer.tree / "d")


def test_marks_over_nothing_leave_no_phantoms(tmp_path: Path, base: Layer) -> None:
    items = [directory(b"n/"), item(b"n/.wh.x"), item(b"q/r/.wh.x"), item(b"n/.wh..wh..opq"), item(b".wh..wh.plnk")]
    layer = _layer(tmp_path, "layer", [base], directory(b"./"), *items)
    assert os.listdir(layer.tree) == ["n"]
    assert not os.listdir(layer.tree / "n")
    assert not layer.said["complete"]


def test_missing_parents_come_from_below(tmp_path: Path, base: Layer) -> None:
    layer = _layer(tmp_path, "layer", [base], item(b"d/new"), item(b"x/y/z"))
    found = (layer.tree / "d").stat()
    assert (stat.S_IMODE(found.st_mode), found.st_mtime_ns) == (0o711, 5)
    assert stat.S_IMODE((layer.tree / "x/y").stat().st_mode) == 0o755
    assert stat.S_IMODE(layer.tree.stat().st_mode) == 0o751
    assert not layer.said["complete"]
    assert base.said["complete"]


def test_a_parent_named_later_is_complete(tmp_path: Path, base: Layer) -> None:
    layer = _layer(tmp_path, "layer", [base], directory(b"./"), item(b"d/new"), directory(b"d/", mode=0o700))
    assert layer.said["complete"]
    assert stat.S_IMODE((layer.tree / "d").stat().st_mode) == 0o700


def test_links_of_lower_layers_are_followed_to_directories(tmp_path: Path, base: Layer) -> None:
    layer = _layer(tmp_path, "layer", [base], item(b"l/new", content=b"x"))
    assert (layer.tree / "d/new").read_bytes() == b"x"
    assert not (layer.tree / "l").exists()


def test_later_entries_replace(tmp_path: Path) -> None:
    items = [
        item(b"a", content=b"first"), item(b"a", content=b"second"), hardlink(b"b", b"a"), item(b"a", content=b"third"),
        directory(b"x/"), item(b"x/y", content=b"under"), item(b"x/z", content=b"z" * 5000), item(b"x", content=b"-"),
        item(b"v"), directory(b"v/"), item(b"v/w"), symlink(b"s", b"a"), item(b"s"), item(b"s", kinds.FIFO),
        directory(b"x/"), item(b"x/y", content=b"again"),
    ]  # fmt: skip
    tree = _layer(tmp_path, "layer", [], *items).tree
    assert ((tree / "a").read_bytes(), (tree / "b").read_bytes()) == (b"third", b"second")
    assert (tree / "x/y").read_bytes() == b"again"
    assert not (tree / "x/z").exists()
    assert stat.S_ISFIFO((tree / "s").lstat().st_mode)
    assert (tree / "v/w").exists()
    assert sorted(os.listdir(tree.parent)) == ["framing", "tree"]


def test_a_hard_link_to_a_lower_file_copies_it_up(tmp_path: Path, base: Layer) -> None:
    tree = _layer(tmp_path, "layer", [base], hardlink(b"g", b"f")).tree
    assert (tree / "g").read_bytes() == b"f"
    assert (tree / "g").stat().st_mtime_ns == 7
    assert (tree / "f").samefile(tree / "g")


def test_content_without_a_place_is_kept(tmp_path: Path) -> None:
    unknown = item(b"volume", content=b"odd")
    assert (_layer(tmp_path, "layer", [], item(b".wh.x", content=b"y" * 3_000_000), unknown).tree / "volume").exists()


def test_what_follows_the_archive_is_kept(tmp_path: Path) -> None:
    path = archive(tmp_path / "tar", item(b"a"), end=bytes(10240) + b"trailing" * 300_000)
    layer = layers.apply(path, tmp_path / "layer", single_id=SINGLE)
    assert layers.assemble(layer, tmp_path / "again").read_bytes() == path.read_bytes()


def test_holes_come_back(tmp_path: Path) -> None:
    tree = _layer(tmp_path, "layer", [], item(b"a", content=b"x" * 5000 + bytes(1 << 20) + b"y")).tree
    assert (tree / "a").read_bytes() == b"x" * 5000 + bytes(1 << 20) + b"y"
    assert (tree / "a").stat().st_blocks * 512 < 1 << 18


def test_damaged_framing(tmp_path: Path, base: Layer) -> None:
    whole = (base.path / "framing").read_bytes()
    newer = whole.replace(b"framing 1", b"framing 2")
    for damaged in (b"", whole[:-3], whole[:40] + b"\0" + whole[41:], newer, b"x" + whole):
        (base.path / "framing").write_bytes(damaged)
        with pytest.raises(StoreError, match="read the framing"):
            layers.assemble(base, tmp_path / "out")
        (tmp_path / "out").unlink()


def test_a_layer_is_not_made_over_another(tmp_path: Path, base: Layer) -> None:
    before = layers.look(base.path)
    with pytest.raises(FileExistsError, match="there is a layer already"):
        layers.apply(archive(tmp_path / "tar", item(b"a")), base.path, single_id=SINGLE)
    assert layers.look(base.path) == before


def test_summary(tmp_path: Path, base: Layer) -> None:
    items = [directory(b"d/", mode=0o711), item(b"d/.wh.a"), item(b"new", content=b"123"), item(b"f", content=b"4567")]
    layer = _layer(tmp_path, "layer", [base], *items)
    assert jobs.summarize(tree=str(layer.tree), below=[str(base.tree)]) == {
        "added": 1, "changed": 1, "hidden": 1, "bytes": 7, "entries": 3,
    }  # fmt: skip
    assert jobs.disk_usage(path=str(layer.tree))["entries"] == 4


def test_uppers_with_prefixes(tmp_path: Path, base: Layer) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "n").write_bytes(name.encode())
    uppers = [("", tmp_path / "one"), ("d/e", tmp_path / "two")]
    layer = layers.capture(uppers, tmp_path / "captured", [base], single_id=SINGLE)
    assert (layer.tree / "d/e/n").read_bytes() == b"two"
    assert (layer.tree / "n").read_bytes() == b"one"
    changes = jobs.list_changes(
        uppers=[[prefix, str(path)] for prefix, path in uppers], below=[str(base.tree)], ignore=[]
    )
    assert changes == [["A", "/d/e/n"], ["A", "/n"]]


def test_as_many_layers_as_a_mount_takes(tmp_path: Path) -> None:
    below = []
    for number in range(500):
        tree = tmp_path / str(number) / "tree"
        (tree / "d").mkdir(parents=True)
        (tree / "d" / str(number)).touch()
        below.append(Layer(tree.parent, {}))
    upper = tmp_path / "upper"
    (upper / "d").mkdir(parents=True)
    marks_made = os.open(upper / "d", os.O_RDONLY)
    marks.write_whiteout(marks_made, b"7", marks.USER)
    marks.write_whiteout(marks_made, b"nothing", marks.USER)
    os.close(marks_made)
    layer = layers.capture([("", upper)], tmp_path / "captured", below, single_id=SINGLE)
    assert os.listdir(layer.tree / "d") == ["7"]
