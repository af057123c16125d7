"""`lamina-overlayfs` with fuse-overlayfs's command line, and the helper that mount(8) finds."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.helpers.command import Done, Lamina, run
from tests.helpers.servers import servers
from tests.helpers.wait import until

pytestmark = pytest.mark.requires("mounts", "fuse")

PROGRAM = [sys.executable, "-c", "import sys; from lamina.cli.overlayfs import main; sys.exit(main())"]


@pytest.fixture
def place(scratch: Path) -> Path:
    for name in ("lower", "upper", "work", "merged"):
        (scratch / name).mkdir()
    (scratch / "lower" / "below").write_text("below\n")
    return scratch


def overlayfs(place: Path, *words: str, status: int = 0) -> Done:
    return run([*PROGRAM, *words], cwd=place, status=status)


def served(pid_file_of: Path) -> bool:
    return any(str(pid_file_of) in line for line in Path("/proc/self/mounts").read_text().splitlines())


def unmount(place: Path) -> None:
    run(["umount", str(place / "merged")])
    until(lambda: not servers(place), "the server ends with its mount")


def test_relative_names_are_mounted_and_written(place: Path) -> None:
    overlayfs(place, "-o", "lowerdir=lower,upperdir=upper,workdir=work,volatile,nodev", "merged")
    try:
        assert served(place / "merged")
        assert (place / "merged" / "below").read_text() == "below\n"
        (place / "merged" / "new").write_text("new\n")
        (place / "merged" / "below").unlink()
    finally:
        unmount(place)
    assert (place / "upper" / "new").read_text() == "new\n"
    assert not (place / "upper" / "below").is_file()
    assert (place / "lower" / "below").read_text() == "below\n"


def test_options_that_tune_are_taken(place: Path) -> None:
    asked = "fsync=0,threaded=1,timeout=5,context=x,allow_other,rw,dev,suid,static_nlink"
    done = overlayfs(place, "-olowerdir=lower", "-o", asked, "merged")
    try:
        ignored = "fsync=0, threaded=1, timeout=5, context=x, static_nlink"
        assert done.stderr == f"lamina-overlayfs: ignored, since nothing comes of it here: {ignored}\n"
        assert os.statvfs(place / "merged").f_flag & os.ST_RDONLY or not os.access(place / "merged" / "no", os.W_OK)
        with pytest.raises(OSError, match="Read-only"):
            (place / "merged" / "no").write_text("")
    finally:
        unmount(place)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["merged"], "lowerdir= is missing"),
        (["-o", "lowerdir=nowhere", "merged"], "no such directory"),
        (["-o", "lowerdir=lower,frobnicate=1", "merged"], "frobnicate=1"),
        (["-o", "lowerdir=lower", "lower/below"], "it is no directory"),
        (["-o", "lowerdir=lower"], "one directory to mount on"),
        (["-o"], "-o needs a value"),
        (["-x", "merged"], "unknown option -x"),
    ],
)
def test_what_cannot_be_is_one_line(place: Path, words: list[str], reason: str) -> None:
    done = overlayfs(place, *words, status=1)
    first = done.stderr.splitlines()[0]
    assert first.startswith("lamina-overlayfs: ")
    assert reason in first
    assert not served(place / "merged")


def test_help_names_the_options(place: Path) -> None:
    assert "lowerdir=TOP" in overlayfs(place, "--help").stdout


@pytest.mark.requires("root")
def test_mount_finds_the_helper_and_loses_it_again(place: Path, lamina: Lamina) -> None:
    helper = Path("/sbin/mount.fuse.lamina")
    assert not helper.exists()
    lamina("mount-helper", "install")
    try:
        lamina("mount-helper", "install")  # once more is no mistake
        options = f"lowerdir={place}/lower,upperdir={place}/upper,workdir={place}/work,nosuid"
        run(["mount", "-t", "fuse.lamina", "-o", options, "a name", str(place / "merged")])
        try:
            assert f"a\\040name {place}/merged fuse.lamina " in Path("/proc/self/mounts").read_text()
            assert os.statvfs(place / "merged").f_flag & os.ST_NOSUID
            (place / "merged" / "new").write_text("new\n")
            run(["mount", "-o", "remount,ro", str(place / "merged")])
            with pytest.raises(OSError, match="Read-only"):
                (place / "merged" / "new").write_text("")
            run(["mount", "-o", "remount,rw", str(place / "merged")])
            (place / "merged" / "new").write_text("newer\n")
        finally:
            run(["umount", str(place / "merged")])
        for _ in range(5):  # the upper is free a moment later, which the next mount awaits
            run(["mount", "-t", "fuse.lamina", "-o", options, "lamina", str(place / "merged")])
            run(["umount", str(place / "merged")])
    finally:
        lamina("mount-helper", "remove")
    until(lambda: not servers(place), "the last server ends")
    assert not helper.exists()
    lamina("mount-helper", "remove")


def test_a_file_of_somebody_else_stays(place: Path, lamina: Lamina) -> None:
    foreign = place / "mount.fuse.lamina"
    foreign.write_text("#!/bin/sh\n")
    for action in ("install", "remove"):
        done = lamina("mount-helper", "--directory", str(place), action, status=125)
        assert "was not made by lamina" in done.stderr
    assert foreign.read_text() == "#!/bin/sh\n"
    lamina("mount-helper", "--directory", str(place), "polish", status=2)
