"""store du and store check on the command line: sizes agree with du(1), damage is found, and mended where it can be."""

from __future__ import annotations

import json
import os
import random
import subprocess
import time
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


def _unreadable(store: Path) -> None:
    (victim,) = (store / "images").iterdir()
    victim.write_text("junk\n")


def _reference_content(store: Path) -> None:
    (store / "refs/docker.io/a/b/:2").write_text("junk\n")


def _reference_name(store: Path) -> None:
    (store / "refs/stray").write_text("junk\n")


def _no_layer(store: Path) -> None:
    next((store / "layers").iterdir()).rename(store.parent / "gone")


def _no_blob(store: Path) -> None:
    (record,) = (store / "images").iterdir()
    (name, *_) = [line for line in record.read_text().splitlines() if line.startswith("blob: sha256:")]
    (store / "blobs/sha256" / name.removeprefix("blob: sha256:")).unlink()


def _owners(store: Path) -> None:
    next((store / "layers").glob("*/layer")).write_text("diff-id: x\n")


@pytest.mark.parametrize(
    ("damage", "thing", "load_again"),
    [
        (_unreadable, "images/", False),
        (_reference_content, "refs/docker.io/a/b/:2", False),
        (_reference_name, "refs/stray", False),
        (_owners, "layers/diff-", True),
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


@pytest.mark.parametrize("damage", [_no_layer, _no_blob])
def test_what_is_missing_is_named_and_brought_again(
    lamina: Lamina, image: str, layout: Path, damage: Callable[[Path], None]
) -> None:
    damage(lamina.store)
    for words in ((), ("--repair",)):
        found = lamina("store", "check", *words, status=125)
        assert found.stdout.startswith("images/") and "is missing: pull or load the image again" in found.stdout
    lamina("load", "-i", layout)
    assert lamina("store", "check").stdout == ""


def test_a_damaged_container_is_named(lamina: Lamina, image: str) -> None:
    lamina("run", "--name", "box", image, "none", status=127)
    (record,) = (lamina.store / "containers").glob("*/record")
    kept = record.read_text()
    record.write_text("junk\n")
    assert lamina("store", "check", status=125).stdout.startswith("containers/")
    record.write_text(kept)
    assert lamina("store", "check").stdout == ""


def test_an_unknown_action_is_a_usage_error(lamina: Lamina) -> None:
    assert "unknown action" in lamina("store", "dust", status=2).stderr


def _older(path: Path, days: int) -> None:
    """Let something of the store have come to it so long ago."""
    moment = time.time() - days * 86_400
    os.utime(path, (moment, moment))


def _import(lamina: Lamina, scratch: Path, number: int, name: str) -> Path:
    """Import an image of one layer, 1 MB, and return its record."""
    before = set((lamina.store / "images").iterdir()) if lamina.store.exists() else set()
    (scratch / "root").mkdir(exist_ok=True)
    (scratch / "root/file").write_bytes(random.Random(number).randbytes(1 << 20))
    lamina("import", scratch / "root", name)
    (record,) = set((lamina.store / "images").iterdir()) - before
    return record


def _names(lamina: Lamina) -> set[str]:
    return {str(record["Name"]) for record in json.loads(lamina("images", "--format", "json").stdout)}


def test_prune_by_age(lamina: Lamina, scratch: Path) -> None:
    for number in (1, 2, 3):
        _older(_import(lamina, scratch, number, f"n:{number}"), 10 - number)
    lamina("run", "--name", "box", "n:1", "none", status=127)
    for layer in (lamina.store / "layers").iterdir():
        _older(layer, 30)
    lamina("prune", "--force", "--older-than", "1d")
    assert _names(lamina) == {"n:1", "n:2", "n:3"}  # names keep them
    lamina("prune", "--force", "--all", "--filter", "until=180h")
    assert _names(lamina) == {"n:1", "n:3"}  # and so does a container
    assert len(list((lamina.store / "layers").iterdir())) == 2
    for words in (("--older-than", "soon"), ("--filter", "label=x"), ("--kind", "cakes"), ("--keep-storage", "x")):
        lamina("prune", "--force", *words, status=2)
    lamina("prune", "--force", "--all", "--older-than", "2020-01-31T12:00:00Z")
    assert _names(lamina) == {"n:1", "n:3"} and lamina("store", "check").stdout == ""


def test_prune_by_size_takes_the_oldest_first(lamina: Lamina, scratch: Path) -> None:
    for number in range(5):
        _older(_import(lamina, scratch, number, f"n:{number}"), (3, 5, 1, 4, 2)[number])
    lamina("prune", "--force", "--all", "--keep-storage", "20M")
    assert len(_names(lamina)) == 5
    lamina("prune", "--force", "--all", "--keep-storage", "3300k")
    assert _names(lamina) == {"n:0", "n:2", "n:4"}
    total = json.loads(lamina("store", "du", "--format", "json").stdout)["Size"]
    assert 3 << 20 < total <= 3300 << 10


def test_prune_by_kind(lamina: Lamina, image: str, layout: Path, scratch: Path) -> None:
    lamina("run", "--name", "box", image, "none", status=127)
    lamina("rmi", "--force", image)
    lamina("prune", "--force", "--kind", "blobs,layers")
    assert lamina("ps", "-aq").stdout != ""
    lamina("prune", "--force", "--kind", "containers")
    assert lamina("ps", "-aq").stdout == "" and list((lamina.store / "images").iterdir())
    lamina("prune", "--force", "--kind", "images")
    assert not list((lamina.store / "layers").iterdir()) and not list((lamina.store / "blobs/sha256").iterdir())
    (scratch / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    lamina("build", "-t", "built:1", scratch)
    assert list((lamina.store / "build/steps").iterdir())
    lamina("rmi", "built:1")
    lamina("prune", "--force", "--kind", "cache")
    assert not list((lamina.store / "build/steps").iterdir()) and not list((lamina.store / "layers").iterdir())
