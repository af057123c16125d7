"""What is mounted in a tree is neither removed nor imported."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from lamina.layer import jobs
from tests.helpers import layers

pytestmark = pytest.mark.requires("mounts")


@pytest.mark.parametrize("argv", [["--bind"], ["-t", "tmpfs"]])
def test_mounts_are_left_alone(scratch: Path, argv: list[str]) -> None:
    kept = scratch / "kept"
    kept.mkdir()
    (kept / "f").touch()
    point = scratch / "top" / "mount"
    point.mkdir(parents=True)
    subprocess.run(["mount", *argv, str(kept), str(point)], check=True)
    try:
        if argv != ["--bind"]:
            (point / "f").touch()
            layer = layers.apply_directory(scratch / "top", scratch / "layer")
            assert (layer.tree / "mount").is_dir() and not list((layer.tree / "mount").iterdir())
        with pytest.raises(OSError, match="mounted there"):
            jobs.remove_tree(path=str(scratch / "top"))
        assert (point / "f").exists()
    finally:
        subprocess.run(["umount", str(point)], check=True)
    jobs.remove_tree(path=str(scratch / "top"))
    assert (kept / "f").exists()
