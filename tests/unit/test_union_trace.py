"""The log of what is looked up, read and written in a union in this process."""

from __future__ import annotations

from pathlib import Path

import pytest

from lamina.overlay.union.tracing import quote
from lamina.overlay.union.union import Union


def test_each_use_is_noted_once(scratch: Path) -> None:
    for name in ("a/sub", "upper", "work"):
        (scratch / name).mkdir(parents=True)
    (scratch / "a/sub/one").write_text("1")
    (scratch / "a/two").write_text("2")
    (scratch / "a/link").symlink_to("two")
    with Union([scratch / "a"], upper=scratch / "upper", work=scratch / "work", trace=scratch / "log") as union:
        for _ in range(2):
            union.read_text("sub/one")
            assert not union.exists("none/below")
            union.read_text("link")
        union.write_text("a b", "")
        union.chmod("two", 0o600)
        union.rename("two", "moved")
        union.unlink("sub/one")
        union.listdir("sub")
        union.mkdir("made")
        union.rmdir("made")
    lines = (scratch / "log").read_text().splitlines()
    assert lines[0] == "lamina trace 1"
    assert len(lines) == len(set(lines))
    assert {
        "L /sub", "L /sub/one", "R /sub/one", "N /none", "L /link", "R /link", "L /two", "R /two", r"N /a\x20b",
        r"W /a\x20b", "W /two", "W /moved", "W /sub/one", "D /sub", "W /made",
    } <= set(lines)  # fmt: skip
    assert "W /sub" not in lines and "D /" not in lines


def test_a_log_that_cannot_be_written_is_an_error_and_leaves_nothing(scratch: Path) -> None:
    (scratch / "a").mkdir()
    (scratch / "upper").mkdir()
    with pytest.raises(FileNotFoundError):
        Union([scratch / "a"], upper=scratch / "upper", trace=scratch / "none/log")
    Union([scratch / "a"], upper=scratch / "upper").close()  # it is not in use


def test_a_path_is_one_printable_word() -> None:
    assert quote(b"plain/p-a.t_h~") == b"plain/p-a.t_h~"
    assert quote(b"a b\\\n\xff") == rb"a\x20b\x5c\x0a\xff"
