"""A new hard link to a file of a layer, renamed over it: nothing happens (rename(2)), where the kernel says ESTALE."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.helpers.command import Lamina

pytestmark = pytest.mark.requires("user", "fuse")


def test_both_names_stay_one_file(lamina: Lamina, scratch: Path) -> None:
    for name in ("lower", "upper", "work", "merged"):
        (scratch / name).mkdir()
    (scratch / "lower/file").write_text("text")
    words = ["--driver", "fuse", "--layer", "lower", "--upper", "upper", "--work", "work", "merged", "--"]
    code = "ln file new; stat -c '%i %h' file new; python3 -c 'import os; os.rename(\"new\", \"file\")'; ls; cat new"
    done = lamina("mount", *words, "sh", "-euc", f"cd merged; {code}")
    one, other, *rest = done.lines()
    assert one == other and one.endswith(" 2")
    assert rest == ["file", "new", "text"]
    assert sorted(os.listdir(scratch / "upper")) == ["file", "new"]
