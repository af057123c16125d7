"""The tools for an upper from a Python program, as root and as ordinary users."""

from __future__ import annotations

from pathlib import Path

import pytest

import lamina

pytestmark = pytest.mark.requires("userns")


def test_check_vacuum_flatten_and_merge(scratch: Path) -> None:
    for name in ("base/dir", "upper", "work"):
        (scratch / name).mkdir(parents=True)
    (scratch / "base/dir/file").write_text("text")
    layers, upper, work = [scratch / "base"], scratch / "upper", scratch / "work"
    with lamina.Union(layers, upper=upper, work=work) as union:
        union.rename("dir", "moved")
    assert lamina.check_upper(layers, upper=upper, work=work) == []
    (scratch / "upper/.wh.absent").touch()
    (found,) = lamina.check_upper(layers, upper=upper, work=work, repair=True)
    assert (found.path, found.kind, found.mended) == ("absent", "whiteout", True)
    assert lamina.vacuum_upper(layers, upper=upper, work=work) == []
    (copied, forgotten) = lamina.flatten_upper(layers, upper=upper, work=work)
    assert copied == "copy 1 entries, 4 bytes, into moved, which was dir" and "redirects" in forgotten
    with lamina.Union(layers, upper=upper, work=work), pytest.raises(lamina.Conflict, match="in use"):
        lamina.merge_upper(layers, upper=upper, work=work)
    assert "remove dir" in lamina.merge_upper(layers, upper=upper, work=work, dry_run=True)
    lamina.merge_upper(layers, upper=upper, work=work)
    assert [path.name for path in (scratch / "base").iterdir()] == ["moved"]
    assert (scratch / "base/moved/file").read_text() == "text"
