"""Digests are remembered by what a file looks like, and not believed where that could deceive."""

from __future__ import annotations

import os
from pathlib import Path

from lamina.build.digests import Digests

OLD = 1_000_000_000_000_000_000


def look(*, ctime: int) -> os.stat_result:
    """Return the state of a file that was changed long ago."""
    times = {"st_atime_ns": OLD, "st_mtime_ns": OLD + 1, "st_ctime_ns": ctime}
    return os.stat_result((0o100644, 7, 8, 1, 0, 0, 9, 0, 0, 0), times)


def ask(table: str, status: os.stat_result, answers: list[str]) -> str:
    digests = Digests(table)
    found = digests.of(status, answers.pop)
    digests.save()
    return found


def test_a_file_that_looks_the_same_is_not_read_again(tmp_path: Path) -> None:
    table = str(tmp_path / "build" / "table")
    status = look(ctime=OLD + 1)
    answers = ["b" * 32, "a" * 32]
    assert ask(table, status, answers) == "a" * 32
    assert ask(table, status, answers) == "a" * 32
    assert ask(table, look(ctime=OLD + 2), answers) == "b" * 32


def test_a_file_that_was_changed_just_now_is_not_remembered(tmp_path: Path) -> None:
    table = str(tmp_path / "table")
    (tmp_path / "file").write_text("1")
    answers = ["b" * 32, "a" * 32]
    assert ask(table, (tmp_path / "file").stat(), answers) == "a" * 32
    assert ask(table, (tmp_path / "file").stat(), answers) == "b" * 32


def test_a_table_that_is_no_table_is_as_good_as_none(tmp_path: Path) -> None:
    (tmp_path / "table").write_bytes(b"\xff\x00")
    assert ask(str(tmp_path / "table"), look(ctime=OLD + 1), ["a" * 32]) == "a" * 32
