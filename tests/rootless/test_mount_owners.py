"""Owners kept in an xattr through a mount of our own driver, as root of an ordinary user's namespace."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lamina.overlay.recorded import ATTRIBUTE
from tests.helpers.command import Lamina

pytestmark = pytest.mark.requires("subuid", "fuse")


def test_owners_are_recorded_and_shown_again(lamina: Lamina, scratch: Path) -> None:
    for name in ("base", "upper", "work", "merged"):
        (scratch / name).mkdir()
    (scratch / "base/file").write_text("text")
    options = "lowerdir=base,upperdir=upper,workdir=work,squash_to_root,owners=xattr"
    words = ["mount", "--driver", "fuse", "-o", options, "merged", "--", "sh", "-c"]
    code = (
        "cd merged; stat -c '%u %g' file; chown 33:34 file; chmod 4750 file; touch new; chown 5 new; mkdir d; chgrp 6 d"
    )
    assert lamina(*words, code).lines() == ["0 0"]
    assert os.getxattr(scratch / "upper/file", ATTRIBUTE) == b"33:34:4750"
    assert (scratch / "upper/file").stat().st_mode & 0o7777 == 0o750
    assert (scratch / "upper/file").stat().st_uid == os.getuid()
    look = "cd merged; stat -c '%n %u %g %a' file new d; ls -A; getfattr -d file 2>/dev/null"
    assert lamina(*words, look, status=None).lines() == [
        "file 33 34 4750", "new 5 0 644", "d 0 6 755", "d", "file", "new",
    ]  # fmt: skip
