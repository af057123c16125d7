"""Id maps as values, and the ranges of /etc/subuid."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamina.errors import StoreError
from lamina.ids.map import HOST, IdMap, check_same, choose
from lamina.ids.subid import Range, find_program, range_of

IDS = st.integers(0, (1 << 32) - 2)
RANGES = st.builds(Range, IDS, st.integers(1, 1 << 20))
MAPS = st.one_of(
    st.just(HOST),
    st.builds(IdMap, st.just("single"), IDS, IDS),
    st.builds(IdMap, st.just("range"), IDS, IDS, RANGES, RANGES),
)


@given(MAPS)
def test_what_is_printed_is_read_again(ids: IdMap) -> None:
    assert IdMap.parse(str(ids)) == ids
    assert IdMap.parse(str(ids)).lines(groups=True) == ids.lines(groups=True)


@given(st.text())
def test_other_text_is_refused(text: str) -> None:
    try:
        ids = IdMap.parse(text)
    except StoreError:
        return
    assert IdMap.parse(str(ids)) == ids


@pytest.mark.parametrize("text", ["", "hosts", "single 1", "single a 1", "range 1 1 5:5", "range 1 1 x:5 5:5"])
def test_damaged_records(text: str) -> None:
    with pytest.raises(StoreError, match="none of host, range, single"):
        IdMap.parse(text)


def test_lines_of_a_range() -> None:
    ids = IdMap.parse("range 1000 1001 100000:65536 200000:10")
    assert ids.lines(groups=False) == "0 1000 1\n1 100000 65536\n"
    assert ids.lines(groups=True) == "0 1001 1\n1 200000 10\n"
    assert ids.inner_lines(groups=True) == "0 0 1\n1 1 10\n"
    assert ids.has(0) and ids.has(10) and not ids.has(11), "an id must be there as user and as group"
    assert "1000 is root inside" in ids.describe()


def test_a_single_id_has_no_other() -> None:
    ids = IdMap("single", 1000, 1001)
    assert ids.lines(groups=True) == "0 1001 1\n"
    assert ids.has(0) and not ids.has(1)


def test_root_has_all_ids() -> None:
    assert HOST.has((1 << 32) - 2) and not HOST.has((1 << 32) - 1)


def test_a_store_of_another_map_is_refused() -> None:
    check_same(HOST, HOST, "/store")
    with pytest.raises(StoreError, match="it was made with one id: 5 is root inside"):
        check_same(IdMap("single", 5, 5), HOST, "/store")


def test_ranges_with_damaged_lines(tmp_path: Path) -> None:
    me = os.getuid()
    path = tmp_path / "subuid"
    path.write_bytes(
        b"\n:\n::\nnobody-here:1:2\n%d:x:5\n%d:5\n%d:-5:5\n%d:100:10\n%d:500:20:more\n  %d:300:15  \n\xff\xfe:1:99\n"
        % (me, me, me, me, me, me)
    )
    best = range_of(str(path), me)
    assert best is not None
    assert str(best) == "300:15", "the longest that can be read"
    assert range_of(str(path), 4242) is None
    assert range_of(str(tmp_path / "none"), me) is None
    (tmp_path / "empty").touch()
    assert range_of(str(tmp_path / "empty"), me) is None


def test_a_range_of_no_ids_is_none(tmp_path: Path) -> None:
    (tmp_path / "subuid").write_text(f"{os.getuid()}:100000:0\n")
    assert range_of(str(tmp_path / "subuid"), os.getuid()) is None


def test_programs_are_files_that_may_be_executed(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    (tmp_path / "a" / "lamina-tool").mkdir()
    (tmp_path / "b" / "lamina-tool").touch(0o755)
    (tmp_path / "a" / "lamina-plain").touch(0o644)
    path = f"{tmp_path}/a::{tmp_path}/b"
    assert find_program("lamina-tool", path) == f"{tmp_path}/b/lamina-tool"
    assert find_program("lamina-plain", path) is None
    assert find_program("sh", "/nowhere") is not None, "the system's directories are looked at last"


def test_the_map_of_this_user() -> None:
    ids = choose(os.geteuid(), os.getegid())
    assert ids.kind in ("host", "range", "single")
    if ids.kind != "host":
        assert (ids.uid, ids.gid) == (os.geteuid(), os.getegid())
