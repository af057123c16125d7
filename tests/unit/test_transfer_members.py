"""Members of archives are found by name, with GNU tar and tarfile as writers, and damage is told."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamina.errors import InvalidInput, LaminaError
from lamina.transfer.members import list_members
from tests.helpers.images import add


def _archive(path: Path, form: int) -> Path:
    with tarfile.open(path, "w", format=form) as tar:
        add(tar, "./top", b"top")
        add(tar, "a", None)
        add(tar, "a/" + "long" * 40 + "/file", b"long")
        for name, kind, target in [
            ("a/symlink", tarfile.SYMTYPE, "../top"),
            ("a/out", tarfile.SYMTYPE, "../../../../top"),
            ("hard", tarfile.LNKTYPE, "./top"),
            ("chain", tarfile.SYMTYPE, "a/symlink"),
            ("loop", tarfile.SYMTYPE, "loop"),
            ("dangling", tarfile.SYMTYPE, "none"),
        ]:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            tar.addfile(info)
        add(tar, "twice", b"first")
        add(tar, "twice", b"second")
    return path


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_members_are_found(tmp_path: Path, form: int) -> None:
    found = list_members(str(_archive(tmp_path / "a.tar", form)))
    content = {name: b"".join(section.pieces()) for name, section in found.items()}
    assert content == {
        "top": b"top",
        "a/" + "long" * 40 + "/file": b"long",
        "a/symlink": b"top",
        "a/out": b"top",
        "hard": b"top",
        "chain": b"top",
        "twice": b"second",
    }


@given(st.binary(max_size=2000), st.integers(0, 3000), st.booleans())
def test_damage_is_an_error_of_ours(junk: bytes, at: int, cut: bool) -> None:
    from tempfile import TemporaryDirectory

    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        add(tar, "a" * 120, b"x" * 700)
        add(tar, "b", b"y")
    raw = bytearray(data.getvalue())
    raw[at : at + len(junk)] = junk
    with TemporaryDirectory() as directory:
        path = Path(directory) / "a.tar"
        path.write_bytes(raw[: len(raw) // 3] if cut else raw)
        try:
            for section in list_members(str(path)).values():
                assert section.offset + section.size <= path.stat().st_size
        except LaminaError:
            pass


def test_a_claim_beyond_the_end_is_refused(tmp_path: Path) -> None:
    path = _archive(tmp_path / "a.tar", tarfile.GNU_FORMAT)
    path.write_bytes(path.read_bytes()[:512])
    with pytest.raises(InvalidInput, match="truncated"):
        list_members(str(path))
