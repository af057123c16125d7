"""Opening and making a store, its refusals, and its records."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from lamina.errors import LaminaError, StoreError
from lamina.ids.map import IdMap
from lamina.store.layout import FORMAT, open_layout
from lamina.store.record import Record, encode_record
from lamina.store.staging import Staging, is_alive
from tests.helpers.stores import open_store


def test_a_store_is_made_and_opened_again(store_path: Path) -> None:
    layout = open_store(store_path)
    assert store_path.stat().st_mode & 0o7777 == 0o700
    assert (store_path / "version").read_text() == f"{FORMAT}\n"
    assert (store_path / "idmap").read_text() == f"{layout.ids}\n"
    assert json.loads((store_path / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}
    assert json.loads((store_path / "index.json").read_text())["manifests"] == []
    assert open_store(store_path).root == str(store_path)


def test_directories_above_are_made(store_path: Path) -> None:
    open_store(store_path / "a/b")
    assert (store_path / "a/b/version").exists()


def test_what_a_crash_left_half_made_is_finished(store_path: Path) -> None:
    open_store(store_path)
    (store_path / "version").rename(store_path / "version.new")
    (store_path / "index.json").unlink()
    open_store(store_path)
    assert (store_path / "index.json").exists() and not (store_path / "version.new").exists()


@pytest.mark.parametrize(
    ("version", "reason"), [(f"{FORMAT + 1}\n", "newer than"), ("x\n", "says 'x'"), ("", "says ''")]
)
def test_a_version_that_is_not_ours_is_refused(store_path: Path, version: str, reason: str) -> None:
    open_store(store_path)
    (store_path / "version").write_text(version)
    with pytest.raises(StoreError, match=reason):
        open_store(store_path)


def test_another_id_map_is_refused(store_path: Path) -> None:
    open_store(store_path)
    other = IdMap("single", 4242, 4242)
    with pytest.raises(StoreError, match="was made with") as caught:
        open_layout(str(store_path), other)
    assert caught.value.hint


def test_a_directory_with_other_files_is_refused_and_left_alone(store_path: Path) -> None:
    store_path.mkdir()
    store_path.chmod(0o755)
    (store_path / "photo").write_text("x")
    with pytest.raises(StoreError, match="other files in it"):
        open_store(store_path)
    assert os.listdir(store_path) == ["photo"] and store_path.stat().st_mode & 0o777 == 0o755


def test_a_file_in_the_way_is_refused(store_path: Path) -> None:
    store_path.write_text("x")
    for path in (store_path, store_path / "below"):
        with pytest.raises(StoreError, match=r"cannot (open|make) the store"):
            open_store(path)


def test_a_staging_directory_is_alive_while_it_is_used(store_path: Path) -> None:
    layout = open_store(store_path)
    with Staging(layout) as staging:
        path = staging.path
        assert is_alive(path)
        with layout.publishing():
            staging.publish_file("refs/a/b/:c", b"1")
            staging.publish_file("refs/a/b/:c", b"2")
        (Path(path) / "tree").mkdir()
    assert (store_path / "refs/a/b/:c").read_bytes() == b"2"
    assert os.listdir(path) == ["tree"] and not is_alive(path)


def test_a_full_disk_is_named(store_path: Path) -> None:
    layout = open_store(store_path)
    with (
        pytest.raises(LaminaError, match=r"cannot write to the store .*: No space left on device") as caught,
        Staging(layout),
    ):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert caught.value.hint and os.listdir(store_path / "staging") == []


def test_lists_and_absent_values() -> None:
    data = encode_record([("a", ["x", "y"]), ("b", None), ("c", []), ("n", 7)])
    assert data == b"a: x\na: y\nn: 7\n"
    record = Record(data, "x")
    assert record.number("n") == 7 and record.number("m", 3) == 3 and record.text("b", "") == ""
    for missing in (lambda: record.text("b"), lambda: record.number("a")):
        with pytest.raises(StoreError, match="cannot read x"):
            missing()
