"""store du and store check on the command line: sizes agree with du(1), damage is found, and mended where it can be."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers.command import Lamina
from tests.helpers.images import layer_bytes, rootfs_archive
from tests.helpers.layouts import Made


@pytest.fixture
def layout(scratch: Path) -> Path:
    """Return an image layout of two compressed layers."""
    made = Made()
    made.list(made.image(layer_bytes(1), layer_bytes(2)), "docker.io/a/b:1")
    return made.write(scratch / "layout")


@pytest.fixture
def image(lamina: Lamina, layout: Path) -> str:
    """Return the image in the store."""
    lamina("load", "-i", layout)
    return "a/b:1"


def test_sizes_agree_with_du(lamina: Lamina, image: str, scratch: Path) -> None:
    lamina("import", rootfs_archive(scratch / "rootfs.tar"), "base:1")
    lamina("import", rootfs_archive(scratch / "other.tar", 7), "gone:1")
    usage = json.loads(lamina("store", "du", "--format", "json").stdout)
    total = int(subprocess.run(["du", "-s", "-B1", lamina.store], capture_output=True, check=True).stdout.split()[0])
    assert abs(usage["Size"] - total) <= total / 100
    kinds = {kind["Kind"]: kind for kind in usage["Kinds"]}
    assert kinds["layers"]["Count"] == 3 and kinds["layers"]["Reclaimable"] == 0
    unique = {name: entry["Unique"] for entry in usage["Images"] for name in entry["Names"]}
    by_size = {name: entry["Size"] for entry in usage["Images"] for name in entry["Names"]}
    # base:1 is the first layer of the other image, but for the blob: only its documents are its own.
    assert 0 < unique["base:1"] < by_size["base:1"]
    assert unique["gone:1"] == by_size["gone:1"]
    table = lamina("store", "du").lines()
    assert table[0].split() == ["KIND", "COUNT", "SIZE", "RECLAIMABLE"] and table[1].startswith("layers")


def test_what_crashes_left_can_be_freed(lamina: Lamina, image: str) -> None:
    for record in (lamina.store / "images").iterdir():
        record.unlink()
    (lamina.store / "refs/docker.io/a/b/:1").unlink()
    kinds = {kind["Kind"]: kind for kind in json.loads(lamina("store", "du", "--format", "json").stdout)["Kinds"]}
    assert kinds["layers"]["Reclaimable"] == kinds["layers"]["Size"] > 0
    assert kinds["blobs"]["Reclaimable"] == kinds["blobs"]["Size"] > 0


def test_a_whole_store_is_whole(lamina: Lamina, image: str) -> None:
    assert lamina("store", "check").stdout == ""


def _blob(store: Path) -> None:
    _spoil(store, "blob: sha256:")


def _manifest(store: Path) -> None:
    _spoil(store, "manifest: sha256:")


def _spoil(store: Path, field: str) -> None:
    """Change the last byte of the first blob that the image's record names so."""
    (record,) = (store / "images").iterdir()
    (name, *_) = [line.removeprefix(field) for line in record.read_text().splitlines() if line.startswith(field)]
    victim = store / "blobs/sha256" / name
    data = bytearray(victim.read_bytes())
    data[-1] ^= 1
    victim.write_bytes(data)


def _file(store: Path) -> None:
    victim = next((store / "layers").glob("*/tree/etc/layer2"))
    content = victim.read_bytes()
    victim.unlink()  # an ordinary user's may have another owner, and lies in a directory of the user's
    victim.write_bytes(content[::-1])


def _framing(store: Path) -> None:
    next((store / "layers").glob("*/framing")).write_bytes(b"junk")


def _reference(store: Path) -> None:
    (store / "refs/docker.io/a/b/:2").write_text(f"sha256:{'0' * 64}\n")


def _index(store: Path) -> None:
    (store / "index.json").write_text("{}")


def _record(store: Path) -> None:
    (victim,) = (store / "images").iterdir()
    victim.write_text(victim.read_text().replace("env: A=b", "env: A=c"))


@pytest.mark.parametrize(
    ("damage", "thing", "load_again"),
    [
        (_blob, "blobs/sha256/", True),
        (_manifest, "blobs/sha256/", True),
        (_file, "layers/diff-", True),
        (_framing, "layers/diff-", True),
        (_reference, "refs/docker.io/a/b/:2", False),
        (_index, "index.json", False),
        (_record, "images/", False),
    ],
)
def test_damage_is_found_and_mended(
    lamina: Lamina, image: str, layout: Path, *, damage: Callable[[Path], None], thing: str, load_again: bool
) -> None:
    damage(lamina.store)
    found = lamina("store", "check", status=125)
    assert found.stdout.startswith(thing) and "--repair" in found.stderr
    mended = lamina("store", "check", "--repair", status=125 if load_again else 0)
    assert "(mended)" in mended.lines()[0]
    if load_again:
        assert "pull or load the image again" in mended.stdout
        lamina("load", "-i", layout)
    assert lamina("store", "check").stdout == ""


def test_an_unknown_action_is_a_usage_error(lamina: Lamina) -> None:
    assert "unknown action" in lamina("store", "dust", status=2).stderr
