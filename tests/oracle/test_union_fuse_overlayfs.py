"""Options whose meaning is fuse-overlayfs's: it shows the same owners, and reads what we record."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.command import run
from tests.helpers.wait import until

pytestmark = pytest.mark.requires("mounts", "fuse", "fuse-overlayfs")

OURS = [sys.executable, "-c", "import sys; from lamina.cli.overlayfs import main; sys.exit(main())"]


def shown(program: list[str], place: Path, options: str) -> str:
    """Return names with owners and modes as the program shows them, after an owner was changed through it."""
    merged = place / "merged"
    layers = f"lowerdir={place}/lower,upperdir={place}/upper,workdir={place}/work"
    run([*program, "-o", f"{layers},{options}", str(merged)])
    try:
        until((merged / "a").exists, "the mount answers")
        done = subprocess.run(
            ["sh", "-c", "touch new; stat -c '%n %u %g %a' a b new"], cwd=merged, check=True, capture_output=True,
            text=True,
        )  # fmt: skip
        return done.stdout
    finally:
        run(["umount", str(merged)])


@pytest.mark.parametrize(
    "options",
    ["uidmapping=1000:0:1:0:1000:1,gidmapping=0:0:1:1000:5:10", "uidmapping=0:0:1:1000:7:1", "squash_to_root",
     "squash_to_uid=5,squash_to_gid=6"],
)  # fmt: skip
def test_the_same_owners_are_shown(scratch: Path, options: str) -> None:
    said = []
    for number, program in enumerate((["fuse-overlayfs"], OURS)):
        place = scratch / str(number)
        for name in ("lower", "upper", "work", "merged"):
            (place / name).mkdir(parents=True)
        for name, ids in (("a", "1000:1003"), ("b", "0:0")):
            (place / "lower" / name).write_text("")
            run(["chown", ids, str(place / "lower" / name)])
        said.append(shown(program, place, options))
    assert said[0] == said[1]
