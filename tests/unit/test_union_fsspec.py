"""The protocol `overlay` of fsspec passes fsspec's own tests over folders in memory and on disk, and keeps its word."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.tests import abstract

from lamina.errors import Conflict, UsageError
from lamina.fsspec import OverlayFileSystem
from lamina.overlay.union.change import Change
from lamina.overlay.union.union import Union


@pytest.fixture
def memory() -> Iterator[MemoryFileSystem]:
    """Return a file system in memory, empty again afterwards."""
    fs = MemoryFileSystem()
    yield fs
    fs.store.clear()
    fs.pseudo_dirs[:] = [""]


class _Fixtures(abstract.AbstractFixtures):  # type: ignore[misc]  # fsspec has no annotations
    """What fsspec's tests work on: everything that they read is in the lower, everything they write in the upper."""

    @pytest.fixture(params=["memory", "disk"])
    def lower(self, request: pytest.FixtureRequest, memory: MemoryFileSystem, scratch: Path) -> tuple[Any, str]:
        if request.param == "memory":
            memory.mkdir("/bucket/prefix")
            return memory, "/bucket/prefix"
        (scratch / "lower").mkdir()
        return fsspec.filesystem("file", auto_mkdir=True), str(scratch / "lower")

    @pytest.fixture
    def fs(self, lower: tuple[Any, str], scratch: Path) -> Iterator[OverlayFileSystem]:
        (scratch / "upper").mkdir()
        fs = OverlayFileSystem(lower=[lower], upper=scratch / "upper", skip_instance_cache=True)
        yield fs
        fs.close()

    @pytest.fixture
    def fs_path(self) -> str:
        return "top"

    @pytest.fixture
    def fs_bulk_operations_scenario_0(self, fs: Any, lower: Any, fs_join: Any, fs_path: str) -> Iterator[str]:
        self._bulk_operations_scenario_0(lower[0], fs_join, f"{lower[1]}/{fs_path}")
        yield from self._in_lower(fs, fs_path)

    @pytest.fixture
    def fs_glob_edge_cases_files(self, fs: Any, lower: Any, fs_join: Any, fs_path: str) -> Iterator[str]:
        self._glob_edge_cases_files(lower[0], fs_join, f"{lower[1]}/{fs_path}")
        yield from self._in_lower(fs, fs_path)

    @pytest.fixture
    def fs_dir_and_file_with_same_name_prefix(self, fs: Any, lower: Any, fs_join: Any, fs_path: str) -> Iterator[str]:
        self._dir_and_file_with_same_name_prefix(lower[0], fs_join, f"{lower[1]}/{fs_path}")
        yield from self._in_lower(fs, fs_path)

    @pytest.fixture
    def fs_10_files_with_hashed_names(self, fs: Any, lower: Any, fs_join: Any, fs_path: str) -> Iterator[str]:
        self._10_files_with_hashed_names(lower[0], fs_join, f"{lower[1]}/{fs_path}")
        yield from self._in_lower(fs, fs_path)

    @staticmethod
    def _in_lower(fs: Any, path: str) -> Iterator[str]:
        source = f"{path}/source"
        assert fs.origin(source) == 0
        yield source
        fs.rm(source, recursive=True)
        assert not fs.exists(source)


class TestCopy(_Fixtures, abstract.AbstractCopyTests):  # type: ignore[misc]  # as above
    """fs.copy"""


class TestGet(_Fixtures, abstract.AbstractGetTests):  # type: ignore[misc]  # as above
    """fs.get"""


class TestPut(_Fixtures, abstract.AbstractPutTests):  # type: ignore[misc]  # as above
    """fs.put"""


class TestOpen(_Fixtures, abstract.AbstractOpenTests):  # type: ignore[misc]  # as above
    """fs.open"""


class TestPipe(_Fixtures, abstract.AbstractPipeTests):  # type: ignore[misc]  # as above
    """fs.pipe"""


@pytest.fixture
def upper(scratch: Path) -> Path:
    """Return an empty directory for changes."""
    (scratch / "upper").mkdir()
    return scratch / "upper"


@pytest.fixture
def bucket(memory: MemoryFileSystem) -> MemoryFileSystem:
    """Return a bucket in memory that holds a few objects below /bucket."""
    memory.pipe(
        {"/bucket/data/one.csv": b"a,b\n1,2\n", "/bucket/data/two.csv": b"a,b\n3,4\n", "/bucket/read.me": b"me"}
    )
    return memory


@pytest.fixture
def fs(bucket: MemoryFileSystem, upper: Path) -> Iterator[OverlayFileSystem]:
    """Return the bucket with changes kept in `upper`."""
    made = fsspec.filesystem("overlay", lower="memory://bucket", upper=str(upper))
    yield made
    made.close()
    OverlayFileSystem.clear_instance_cache()


def test_changes_are_kept_locally(fs: OverlayFileSystem, bucket: MemoryFileSystem, upper: Path) -> None:
    before = bucket.find("/bucket", detail=True)
    with fs.open("data/one.csv", "a") as file:
        file.write("5,6\n")
    fs.pipe("new/deep/three.csv", b"x")
    fs.rm("data/two.csv")
    assert fs.cat("data/one.csv") == b"a,b\n1,2\n5,6\n"
    assert fs.find("") == ["data/one.csv", "new/deep/three.csv", "read.me"]
    assert fs.ls("", detail=False) == ["data", "new", "read.me"]
    assert bucket.find("/bucket", detail=True) == before
    assert sorted(path.name for path in upper.iterdir()) == ["data", "new"]
    assert (fs.origin("read.me"), fs.origin("data/one.csv"), fs.info("new")["origin"]) == (0, 1, 1)
    assert fs.whiteouts() == ["data/two.csv"]
    assert Change("C", b"data/one.csv") in fs.changes()
    fs.copy_up("overlay://read.me")
    assert fs.origin("read.me") == 1 and fs.cat("read.me") == b"me"


def test_changes_are_there_again(fs: OverlayFileSystem, upper: Path) -> None:
    fs.mv("data", "moved")
    fs.pipe_file("read.me", b"changed")
    fs.close()
    again = fsspec.filesystem("overlay", lower="memory://bucket", upper=str(upper), skip_instance_cache=True)
    assert again.find("") == ["moved/one.csv", "moved/two.csv", "read.me"]
    assert again.cat("read.me") == b"changed" and not again.exists("data")
    again.close()


def test_lowers_are_base_first(bucket: MemoryFileSystem, scratch: Path) -> None:
    (scratch / "patch/data").mkdir(parents=True)
    (scratch / "patch/data/one.csv").write_text("patched")
    fs = OverlayFileSystem(lower=["memory://bucket", str(scratch / "patch")], skip_instance_cache=True)
    assert fs.cat("data/one.csv") == b"patched"
    assert fs.cat("data/two.csv").startswith(b"a,b")
    assert [fs.origin(path) for path in ("data/one.csv", "data/two.csv")] == [1, 0]
    with pytest.raises(OSError, match="Read-only"):
        fs.pipe("new", b"")
    with pytest.raises(UsageError):
        OverlayFileSystem(skip_instance_cache=True)
    fs.close()


def test_chained_urls(bucket: MemoryFileSystem, upper: Path) -> None:
    url = "overlay://data/one.csv::memory://bucket"
    with fsspec.open(url, "rt", overlay={"upper": str(upper)}) as file:
        assert file.read() == "a,b\n1,2\n"
    with fsspec.open(url, "wt", overlay={"upper": str(upper)}) as file:
        file.write("mine")
    assert (upper / "data/one.csv").read_text() == "mine"
    assert bucket.cat("/bucket/data/one.csv") == b"a,b\n1,2\n"
    fs, path = fsspec.core.url_to_fs(url, overlay={"upper": str(upper)})
    assert (fs.cat(path), path) == (b"mine", "data/one.csv")
    fs.close()
    OverlayFileSystem.clear_instance_cache()


def test_threads_and_pickles_share_the_union(fs: OverlayFileSystem, upper: Path) -> None:
    fs.pipe("new", b"1")
    seen: list[bytes] = []

    def work() -> None:
        other = pickle.loads(pickle.dumps(fs))
        assert other.union is fs.union
        other.pipe("new", b"2")
        with pickle.loads(pickle.dumps(other.open("new"))) as file:
            seen.append(file.read())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [b"2"] and fs.cat("new") == b"2"
    with pytest.raises(Conflict):
        Union([], upper=upper)
    other = pickle.loads(pickle.dumps(fs))
    other.close()
    assert fs.cat("new") == b"2"  # opened again


_PROGRAM = """
import os, sys, fsspec
fs = fsspec.filesystem("overlay", lower=sys.argv[1], upper=sys.argv[2])
fs.touch("one")
if not os.fork():
    fs.close()  # a child gives nothing of its parent's away
    os._exit(0)
os.wait()
fs.pipe("one", b"1")
fs.rm("gone")
"""


def test_a_program_leaves_nothing_but_the_upper(scratch: Path) -> None:
    for name in ("lower", "upper"):
        (scratch / name).mkdir()
    (scratch / "lower/gone").touch()
    subprocess.run([sys.executable, "-c", _PROGRAM, scratch / "lower", scratch / "upper"], check=True)
    assert sorted(os.listdir(scratch)) == ["lower", "upper"]
    assert sorted(os.listdir(scratch / "upper")) == ["gone", "one"]


def test_a_transaction_is_seen_at_its_end(fs: OverlayFileSystem, upper: Path) -> None:
    with fs.transaction:
        fs.pipe("data/one.csv", b"one")
        fs.pipe("data/new.csv", b"new")
        with fs.open("read.me", "ab") as file:
            file.write(b"+")
        assert fs.cat("data/one.csv").startswith(b"a,b") and not fs.exists("data/new.csv")
    assert (fs.cat("data/one.csv"), fs.cat("data/new.csv"), fs.cat("read.me")) == (b"one", b"new", b"me+")
    with pytest.raises(ZeroDivisionError), fs.transaction:
        fs.pipe("data/one.csv", b"lost")
        raise ZeroDivisionError
    assert fs.cat("data/one.csv") == b"one"
    assert sorted(os.listdir(upper / "data")) == ["new.csv", "one.csv"]


def test_reading_fetches_what_is_read(fs: OverlayFileSystem, upper: Path) -> None:
    with fs.open("data/one.csv") as file:
        assert (file.size, file.readline(), file.tell()) == (8, b"a,b\n", 4)
        file.seek(-2, os.SEEK_END)
        assert file.read() == b"2\n"
    with fs.open("data/one.csv", "r", encoding="ascii") as text:
        assert [*text] == ["a,b\n", "1,2\n"]
    assert fs.head("data/one.csv", 3) == b"a,b" and fs.tail("data/one.csv", 2) == b"2\n"
    assert fs.cat_file("data/one.csv", 4, 7) == b"1,2"
    assert os.listdir(upper) == []


def test_names_and_moves(fs: OverlayFileSystem) -> None:
    fs.mkdir("empty")
    fs.mv("data/one.csv", "empty/")
    fs.mv("empty", "data")  # into it, as it exists
    assert fs.find("data") == ["data/empty/one.csv", "data/two.csv"]
    fs.rm("data/*.csv")
    assert fs.glob("data/**") == ["data", "data/empty", "data/empty/one.csv"]
    with pytest.raises(OSError, match="not empty"):
        fs.rm("data")
    fs.rm("data", recursive=True)
    fs.touch("data/again")
    assert fs.ls("data", detail=False) == ["data/again"] and fs.size("data/again") == 0
    assert fs.modified("data/again") <= fs.created("data/again")
    for missing in (fs.info, fs.ls, fs.rm_file, fs.cat_file):
        with pytest.raises(FileNotFoundError):
            missing("nothing")


def test_a_link_is_followed(scratch: Path) -> None:
    (scratch / "lower").mkdir()
    (scratch / "lower/file").write_text("text")
    (scratch / "lower/link").symlink_to("file")
    (scratch / "lower/broken").symlink_to("nowhere")
    fs = OverlayFileSystem(lower=scratch / "lower", skip_instance_cache=True)
    info = fs.info("link")
    assert (info["type"], info["size"], info["islink"], info["destination"]) == ("file", 4, True, "file")
    assert fs.info("broken")["type"] == "other" and not fs.exists("broken") and fs.lexists("broken")
    fs.close()


def test_tables(fs: OverlayFileSystem, upper: Path) -> None:
    """What pandas does, without pandas: text through fsspec.open, by URL and options."""
    options: dict[str, Any] = {"lower": "memory://bucket", "upper": str(upper)}
    with fsspec.open("overlay://data/one.csv", "r", **options) as file:
        rows = [line.split(",") for line in file]
    with fsspec.open("overlay://data/sum.csv.gz", "wt", compression="infer", **options) as file:
        file.write(str(sum(int(row[0]) for row in rows[1:])))
    assert fs.cat("data/sum.csv.gz")[:2] == b"\x1f\x8b"
    with fsspec.open("overlay://data/sum.csv.gz", "rt", compression="infer", **options) as file:
        assert file.read() == "1"
