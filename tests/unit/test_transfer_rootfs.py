"""Import: every form of a root file system becomes the same image, and what is none leaves nothing behind."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

import lamina
from lamina.errors import InvalidInput, LaminaError, NotFound
from lamina.events import Event
from lamina.ids.worker import Fd
from lamina.oci.digest import digest_of
from lamina.store.making import apply, write_tar
from lamina.store.staging import Staging


@pytest.fixture
def archive(scratch: Path) -> Path:
    path = scratch / "rootfs.tar"
    with tarfile.open(path, "w") as tar:
        for name in ("etc", "bin"):
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        entry = tarfile.TarInfo("etc/hostname")
        entry.size = 4
        tar.addfile(entry, io.BytesIO(b"box\n"))
    return path


def _compressed(archive: Path, kind: str) -> Path:
    data = archive.read_bytes()
    path = archive.with_name(f"rootfs.{kind}")
    match kind:
        case "gz":
            path.write_bytes(gzip.compress(data, mtime=0))
        case "xz":
            path.write_bytes(lzma.compress(data))
        case "bz2":
            path.write_bytes(bz2.compress(data))
    return path


@pytest.mark.parametrize("kind", ["tar", "gz", "xz", "bz2"])
def test_archives(store: lamina.Store, archive: Path, kind: str) -> None:
    events: list[Event] = []
    source = archive if kind == "tar" else _compressed(archive, kind)
    image = store.import_rootfs(source, "base:1", changes=["ENV A=b", 'CMD ["x"]'], on_event=events.append)
    (layer,) = image.layers
    assert layer.diff_id == digest_of(archive.read_bytes()) and layer.size == archive.stat().st_size
    assert layer.content == 4 and layer.entries == 3
    assert Path(layer.directory, "etc/hostname").read_text() == "box\n"
    assert image.config.settings.env[-1] == "A=b" and image.config.settings.cmd == ("x",)
    assert image.history[0].created_by == f"lamina import {source.name}"
    assert [event.finished for event in events].count(True) == 1 and image == store.image("base:1")


def test_streams_and_objects(store: lamina.Store, archive: Path) -> None:
    data = archive.read_bytes()
    with archive.open("rb") as file:
        first = store.import_rootfs(file, "base:1")
    second = store.import_rootfs(io.BytesIO(data), "base:2")
    read, write = os.pipe()
    with open(read, "rb") as pipe:
        os.write(write, data[:65536])
        os.close(write)
        third = store.import_rootfs(pipe, "base:3")
    assert {image.layers[0].diff_id for image in (first, second, third)} == {digest_of(data)}
    assert len(os.listdir(store.root + "/layers")) == 1


def test_a_directory(store: lamina.Store, scratch: Path) -> None:
    (scratch / "root/etc").mkdir(parents=True)
    (scratch / "root/etc/hostname").write_text("box\n")
    image = store.import_rootfs(scratch / "root", "base:1")
    assert Path(image.layers[0].directory, "etc/hostname").read_text() == "box\n"
    assert image.history[0].created_by == "lamina import root"


def test_the_tar_comes_out_as_it_went_in(store: lamina.Store, archive: Path, scratch: Path) -> None:
    image = store.import_rootfs(archive, "base:1")
    with (scratch / "out.tar").open("wb") as out:
        write_tar(store.layout, store.worker, image.record.layers[0], Fd(out.fileno()))
    assert (scratch / "out.tar").read_bytes() == archive.read_bytes()


def test_the_same_image_twice_with_a_fixed_clock(
    store: lamina.Store, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    first, second = store.import_rootfs(archive, "base:1"), store.import_rootfs(archive, "base:2")
    assert first.id == second.id and first.config.created == "2023-11-14T22:13:20Z" and len(store.images()) == 1


def test_what_is_no_root_file_system(store: lamina.Store, archive: Path, scratch: Path) -> None:
    (scratch / "empty").touch()
    (scratch / "text").write_text("no archive " * 100)
    (scratch / "cut.tar").write_bytes(archive.read_bytes()[:1500])
    (scratch / "cut.gz").write_bytes(_compressed(archive, "gz").read_bytes()[:-20])
    refusals: list[tuple[str, type[LaminaError], str]] = [
        ("none", NotFound, "no such file"),
        ("empty", InvalidInput, "the file is empty"),
        ("text", InvalidInput, "cannot "),
        ("cut.tar", InvalidInput, "cannot "),
        ("cut.gz", InvalidInput, "cannot "),
        ("text/below", InvalidInput, "cannot import"),
    ]
    for name, kind, reason in refusals:
        with pytest.raises(kind, match=reason):
            store.import_rootfs(scratch / name, "base:1")
    with pytest.raises(InvalidInput, match="neither a directory nor an archive"):
        store.import_rootfs("/dev/null", "base:1")
    for directory in ("staging", "layers", "images", "refs"):
        assert os.listdir(f"{store.root}/{directory}") == []


def test_a_bad_name_or_change_is_found_before_anything_is_read(store: lamina.Store, scratch: Path) -> None:
    for name, changes in (("Base", []), ("base", ["RUN x"]), ("host", [])):
        with pytest.raises(InvalidInput):
            store.import_rootfs(scratch / "none", name, changes=changes)


def test_another_digest_than_the_expected_publishes_nothing(store: lamina.Store, archive: Path) -> None:
    wrong = "sha256:" + "0" * 64
    with Staging(store.layout) as staging, archive.open("rb") as file, pytest.raises(InvalidInput):
        apply(staging, store.worker, Fd(file.fileno()), (), expected=wrong, on_event=lambda event: None)
    assert os.listdir(store.root + "/layers") == [] == os.listdir(store.root + "/staging")


def test_layers_over_a_layer_are_keyed_by_what_they_take_from_below(
    store: lamina.Store, archive: Path, scratch: Path
) -> None:
    subprocess.run(
        ["tar", "cf", scratch / "over.tar", "-C", scratch, "--transform=s,^,etc/,", "rootfs.tar"], check=True
    )
    with Staging(store.layout) as staging, archive.open("rb") as base, (scratch / "over.tar").open("rb") as over:
        below = apply(staging, store.worker, Fd(base.fileno()), (), on_event=lambda event: None)
        layer = apply(staging, store.worker, Fd(over.fileno()), [below.name], on_event=lambda event: None)
    assert below.name.startswith("diff-") and layer.name.startswith("chain-") and not layer.complete
    assert layer.diff_id[7:] not in layer.name
    store.prune()  # no image has them
