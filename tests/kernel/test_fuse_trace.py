"""`lamina mount --trace`: what a command did in the mount is in the log, through every cache."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.helpers.command import Lamina

pytestmark = pytest.mark.requires("userns", "fuse")


def test_what_a_command_uses_is_noted(lamina: Lamina, scratch: Path) -> None:
    for name in ("a/sub", "upper", "work", "merged"):
        (scratch / name).mkdir(parents=True)
    for name in ("read", "empty", "unused", "sub/deep", "overwritten", "looked"):
        (scratch / "a" / name).write_text("" if name == "empty" else name)
    code = (
        "cat read read empty; ls >/dev/null; cat sub/deep; echo x >overwritten; stat looked >/dev/null; cat none;"
        "mv looked found; mkdir new; rm read"
    )
    words = ["--trace", "log", "--layer", "a", "--upper", "upper", "--work", "work", "merged"]
    lamina("mount", *words, "--", "sh", "-c", f"cd merged; {code}", cwd=scratch)
    lines = (scratch / "log").read_text().splitlines()
    assert lines[0] == "lamina trace 1" and len(lines) == len(set(lines))
    assert {
        "L /read", "R /read", "L /empty", "R /empty", "D /", "L /sub", "L /sub/deep", "R /sub/deep", "W /overwritten",
        "L /looked", "N /none", "W /looked", "W /found", "W /new", "W /read",
    } <= set(lines)  # fmt: skip
    assert not any(line.endswith("/unused") for line in lines)
    assert "R /overwritten" not in lines and "R /looked" not in lines and "D /sub" not in lines


def test_the_kernel_keeps_no_log(lamina: Lamina, scratch: Path) -> None:
    os.makedirs(scratch / "merged")
    done = lamina("mount", "--trace", "log", "--driver", "kernel", "-l", "/usr", "merged", status=2, cwd=scratch)
    assert "--trace and --driver kernel exclude each other" in done.stderr
    assert not (scratch / "log").exists()
