"""Who may enter the mount of an ordinary user: nobody else, not even root (mount option allow_other, fuse(4))."""

from __future__ import annotations

from pathlib import Path

import pytest

from lamina.api.mounting import mount
from tests.helpers.command import run


@pytest.mark.requires("subuid", "setpriv", "fusermount3", "fuse")
def test_only_the_mounting_user_may_enter(scratch: Path) -> None:
    for name in ("layer", "merged"):
        (scratch / name).mkdir()
    (scratch / "layer" / "file").write_text("seen")
    other = [
        "unshare",
        "--user",
        "--map-root-user",
        "--map-auto",
        "setpriv",
        "--reuid=1",
        "--regid=1",
        "--clear-groups",
    ]
    with mount([scratch / "layer"], target=scratch / "merged", driver="fuse") as merged:
        assert Path(merged, "file").read_text() == "seen"
        assert "Permission denied" in run([*other, "ls", merged], status=2).stderr
    assert run([*other, "ls", str(scratch / "merged")]).stdout == ""
