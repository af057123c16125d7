"""`lamina upper`: an upper that our own driver wrote, looked after, for root and for ordinary users."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.helpers import probes
from tests.helpers.command import Lamina, program
from tests.helpers.wait import until

pytestmark = pytest.mark.requires("overlay", "fuse")

DIRECTORIES = ("--layer", "base", "--upper", "upper", "--work", "work")


@pytest.fixture
def place(scratch: Path) -> Path:
    """Return a directory with a layer, an empty upper and a place to mount on."""
    for name in ("base/dir/sub", "upper", "work", "merged"):
        (scratch / name).mkdir(parents=True)
    for name in ("base/dir/file", "base/dir/sub/deep", "base/gone", "base/kept"):
        (scratch / name).write_text(f"{Path(name).name}\n")
    return scratch


def over(lamina: Lamina, driver: str, script: str, *words: str, status: int = 0) -> str:
    """Run a script in the mount; return what it and the command said."""
    done = lamina("mount", *DIRECTORIES, "--driver", driver, *words, "merged", "--", "sh", "-ec", script, status=status)
    return done.stdout + done.stderr


def upper(lamina: Lamina, action: str, *words: str, status: int = 0) -> list[str]:
    return lamina("upper", action, *DIRECTORIES, *words, status=status).lines()


def test_a_renamed_directory_is_flattened_for_the_kernel(lamina: Lamina, place: Path) -> None:
    over(lamina, "fuse", "mv merged/dir merged/moved; echo more >>merged/moved/sub/deep; rm merged/gone")
    assert upper(lamina, "check") == []
    if probes.who() == "root":
        assert over(lamina, "kernel", "cat merged/moved/file") == "file\n"
    else:
        said = over(lamina, "kernel", "true", status=125)
        assert "renamed directories" in said and "lamina upper flatten" in said
        assert "our own driver serves it" in over(lamina, "auto", "cat merged/moved/file")
    lines = upper(lamina, "flatten", "--dry-run")
    assert lines[0] == "copy 1 entries, 5 bytes, into moved, which was dir" and len(lines) == 2
    assert not (place / "upper/moved/file").exists()
    assert upper(lamina, "flatten") == []
    assert upper(lamina, "flatten", "--dry-run") == upper(lamina, "check") == []
    assert over(lamina, "kernel", "ls merged; cat merged/moved/file merged/moved/sub/deep") == (
        "kept\nmoved\nfile\ndeep\nmore\n"
    )


def test_renames_by_copy_need_no_flattening(lamina: Lamina, place: Path) -> None:
    over(lamina, "fuse", "mv merged/dir merged/moved", "--renames", "copy")
    assert upper(lamina, "flatten", "-n") == []
    assert over(lamina, "kernel", "cat merged/moved/sub/deep; ls merged") == "deep\ngone\nkept\nmoved\n"


def test_check_finds_and_mends(lamina: Lamina, place: Path) -> None:
    over(lamina, "fuse", "echo new >merged/new")
    (place / "upper/.wh.kept").touch()
    assert upper(lamina, "check", status=1) == ["kept: it is hidden by an entry .wh.kept"]
    (found,) = json.loads("".join(upper(lamina, "check", "--format", "json", status=1)))
    assert (found["Path"], found["Kind"], found["Mended"], len(found["Repair"])) == ("kept", "spelling", False, 2)
    assert upper(lamina, "check", "--repair", "--dry-run", status=1)[1:] == [
        "    remove .wh.kept: the kernel shows it as a file",
        "    hide kept: as it was meant",
    ]
    assert upper(lamina, "check", "--repair") == ["kept: it is hidden by an entry .wh.kept (mended)"]
    assert upper(lamina, "check") == []
    assert over(lamina, "kernel", "ls merged") == "dir\ngone\nnew\n"


def test_vacuum_and_merge(lamina: Lamina, place: Path) -> None:
    over(
        lamina, "fuse", "touch -d @1 merged/dir/file; rm -r merged/dir/sub; echo new >merged/new; chmod 600 merged/kept"
    )
    mode = oct((place / "base/kept").stat().st_mode & 0o777)[2:]
    over(lamina, "kernel", f"chmod {mode} merged/kept")
    assert upper(lamina, "vacuum", "-n") == ["remove kept: the layers below have the same"]
    assert upper(lamina, "vacuum") == []
    assert upper(lamina, "merge", "-n") == [
        "add new",
        "remove dir/sub",
        "replace dir/file",
        "give dir its mode, owner, attributes and times",
        "give . its mode, owner, attributes and times",
    ]
    assert upper(lamina, "merge") == []
    assert list((place / "upper").iterdir()) == []
    assert sorted(path.name for path in (place / "base").iterdir()) == ["dir", "gone", "kept", "new"]
    assert [(path.name, path.stat().st_mtime) for path in (place / "base/dir").iterdir()] == [("file", 1.0)]
    assert over(lamina, "kernel", "cat merged/new") == "new\n"


@pytest.mark.parametrize("driver", ["kernel", "fuse"])
def test_a_mounted_upper_is_refused(lamina: Lamina, place: Path, driver: str) -> None:
    words = [*program(), "mount", *DIRECTORIES, "--driver", driver, "merged", "--", "sh", "-c", "echo up; read line"]
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=place, env=lamina.environment()
    ) as running:
        assert running.stdout and running.stdout.readline() == b"up\n"
        done = lamina("upper", "check", *DIRECTORIES, status=125)
        assert ("it is mounted on" if driver == "kernel" else "it is in use") in done.stderr
    assert running.returncode == 1
    until(lambda: lamina("upper", "check", *DIRECTORIES, status=None).status == 0, "the mount is gone")


def test_a_layer_of_a_store_never_changes(lamina: Lamina, place: Path) -> None:
    (place / "base").rename(place / "tree")
    (place / "framing").touch()
    words = ("--layer", "tree", "--upper", "upper", "--work", "work")
    assert "it is a layer of a store" in lamina("upper", "merge", *words, status=125).stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("polish", *DIRECTORIES), "unknown action 'polish'"),
        (("vacuum", *DIRECTORIES, "--repair"), "go with check"),
        (("merge", *DIRECTORIES, "--format", "json"), "go with check"),
        (("check", *DIRECTORIES, "--dry-run"), "check changes nothing without --repair"),
        (("check", "--layer", "base"), "no upper directory is named"),
        (("check", "--upper", "upper"), "no directory to show is named"),
        ((), "ACTION is missing"),
    ],
)
def test_usage(lamina: Lamina, place: Path, words: tuple[str, ...], said: str) -> None:
    assert said in lamina("upper", *words, status=2).stderr
