"""`lamina mount` and `umount`: the article's four directories, in both spellings, and as explained."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
from pathlib import Path

import pytest

from tests.helpers.command import Lamina

pytestmark = pytest.mark.requires("overlay")

WORK = (
    'cd "$1" && echo new >changed && rm gone && rm -r dir && mkdir dir && echo y >dir/y && echo made >made && cat kept'
)


@pytest.fixture
def directories(scratch: Path) -> Path:
    """Return a directory with lower, upper, work and merged in it."""
    for name in ("lower/dir", "upper", "work", "merged"):
        (scratch / name).mkdir(parents=True)
    for name, text in {"kept": "base", "changed": "old", "gone": "bye", "dir/x": "x"}.items():
        (scratch / "lower" / name).write_text(f"{text}\n")
    return scratch


def test_what_is_written_lands_in_the_upper(lamina: Lamina, directories: Path) -> None:
    text = ",".join(f"{option}={directories / option[:-3]}" for option in ("lowerdir", "upperdir", "workdir"))
    merged = directories / "merged"
    done = lamina("mount", "-o", text, merged, "--", "sh", "-c", WORK, "sh", merged)
    assert (done.stdout, done.stderr) == ("base\n", "")
    assert (directories / "lower" / "changed").read_text() == "old\n"
    assert (directories / "lower" / "dir" / "x").exists()
    assert (directories / "upper" / "changed").read_text() == "new\n"
    gone = (directories / "upper" / "gone").lstat()
    assert stat.S_ISCHR(gone.st_mode) and gone.st_rdev == 0
    assert not list(merged.iterdir())
    # and as the next layer, which is read-only, relative to the working directory
    look = "cd merged; cat changed; ls dir; ls; touch no 2>/dev/null || echo read-only"
    done = lamina("mount", "--layer", "lower", "--layer=upper", "merged", "--", "sh", "-c", look)
    assert done.stdout.split() == ["new", "y", "changed", "dir", "kept", "made", "read-only"]


@pytest.mark.requires("unshare")
def test_the_explained_script_does_the_same(lamina: Lamina, directories: Path) -> None:
    odd = directories / "o'dd, name:"
    (directories / "lower").rename(odd)
    options = [
        "--layer",
        str(odd),
        "--upper",
        "upper",
        "--work",
        "work",
        "merged",
        "--",
        "sh",
        "-c",
        WORK,
        "sh",
        "merged",
    ]
    script = lamina("mount", "--explain", *options).stdout
    assert script.startswith("#!/bin/sh\n")
    assert not list((directories / "upper").iterdir())
    done = subprocess.run(["sh"], input=script.encode(), cwd=directories, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"base\n", b"")
    assert sorted(path.name for path in (directories / "upper").iterdir()) == ["changed", "dir", "gone", "made"]


def test_one_directory_alone_is_shown_read_only(lamina: Lamina, directories: Path) -> None:
    words = [
        "--layer",
        "lower",
        "merged",
        "--",
        "sh",
        "-c",
        "cat merged/kept; touch merged/no 2>/dev/null || echo read-only",
    ]
    assert lamina("mount", *words).stdout == "base\nread-only\n"
    script = lamina("mount", "--explain", *words).stdout
    done = subprocess.run(["sh"], input=script.encode(), cwd=directories, capture_output=True, check=False)
    assert done.stdout == b"base\nread-only\n"


def test_the_command_s_status_is_the_status(lamina: Lamina, directories: Path) -> None:
    def status(*command: str) -> int:
        return lamina("mount", "--layer", "lower", "merged", "--", *command, status=None).status

    assert status("true") == 0
    assert status("sh", "-c", "exit 7") == 7
    assert status("no-such-command") == 127
    assert status("./no/such") == 127
    assert status("/etc/passwd") == 126
    # a signal that Python ignores is not ignored by the command
    assert status("sh", "-c", "kill -PIPE $$") == 128 + signal.SIGPIPE


@pytest.mark.requires("fuse")
@pytest.mark.parametrize("driver", ["kernel", "fuse"])
def test_mounts_own_words_are_attributes_of_the_mount(lamina: Lamina, directories: Path, driver: str) -> None:
    text = "lowerdir=lower,upperdir=upper,workdir=work,nosuid,nodev,noexec,noatime,defaults,x-systemd.automount"
    look = ["sh", "-c", "grep merged /proc/self/mounts; cp /bin/true merged; merged/true"]
    done = lamina("mount", "--driver", driver, "-o", text, "merged", "--", *look, status=126)
    assert {"rw", "nosuid", "nodev", "noexec", "noatime"} <= set(done.stdout.split()[3].split(","))
    done = lamina("mount", "--driver", driver, "-o", f"{text},ro", "merged", "--", "touch", "merged/no", status=1)
    assert "Read-only file system" in done.stderr


@pytest.mark.requires("root", "mounts")
def test_root_mounts_for_everybody(lamina: Lamina, directories: Path) -> None:
    lamina("mount", "--layer", "lower", "--upper", "upper", "--work", "work", "merged")
    try:
        (directories / "merged" / "made").write_text("x")
        assert os.path.ismount(directories / "merged")
    finally:
        lamina("umount", "merged")
    assert (directories / "upper" / "made").read_text() == "x"
    assert not list((directories / "merged").iterdir())
    assert lamina("umount", "merged", status=125).stderr == "lamina: cannot unmount merged: nothing is mounted on it\n"


@pytest.mark.requires("user")
def test_an_ordinary_user_is_told_how(lamina: Lamina, directories: Path) -> None:
    done = lamina("mount", "--layer", "lower", "merged", status=125)
    error, hint = done.stderr.splitlines()
    assert error == "lamina: cannot mount for everybody on merged: only root can"
    assert hint.startswith("hint: lamina mount … -- COMMAND mounts for COMMAND alone")
    assert "lamina: cannot unmount merged: " in lamina("umount", "merged", status=125).stderr


@pytest.mark.parametrize(
    ("words", "status", "stderr"),
    [
        (["--layer", "lower", "--upper", "lower/kept", "--work", "lower", "merged"], 125,
         "cannot use the upper directory {}/lower/kept: it is not a directory"),
        (["--layer", "none", "merged"], 125, "cannot use the lower directory {}/none: no such directory"),
        (["--layer", "lower", "none"], 125, "cannot mount on none: no such directory"),
        (["--layer", "lower", "lower/kept"], 125, "cannot mount on lower/kept: it is not a directory"),
        (["--layer", "lower", "--upper", "upper", "merged"], 125,
         "cannot mount the overlay {}/upper: there is no work directory to it"),
        (["--driver", "kernel", "-o", "lowerdir=lower:upper,nonsense=1", "merged"], 125,
         "cannot mount the overlay on merged: Unknown parameter 'nonsense'"),
        (["-o", "lowerdir=lower:upper,nonsense=1", "merged"], 2, "-o nonsense=1: unknown option"),
        (["--driver", "fuse", "-o", "lowerdir=lower,nonsense", "merged"], 2, "-o nonsense: unknown option"),
        (["--driver", "fuse", "-o", "lowerdir=lower,verity=require", "merged"], 125,
         "cannot mount by our own driver with -o verity=require: only the kernel's driver has that"),
        (["--driver", "fuse", "--log", "none/log", "-o", "lowerdir=lower", "merged"], 125,
         "cannot write the log {}/none/log: No such file or directory"),
        (["--driver", "kernel", "--log", "log", "-o", "lowerdir=lower", "merged"], 2,
         "--log and --driver kernel exclude each other"),
        (["merged"], 2, "no directory to show is named"),
        (["-o", "ro", "merged"], 2, "no directory to show is named"),
        (["-o", "lowerdir=lower", "--upper", "upper", "merged"], 2, "--upper and --work go with --layer"),
        (["-o", "upperdir=upper", "--layer", "lower", "merged"], 2, "-o names directories, and so does --layer"),
        (["-o", "lowerdir=lower,lowerdir=lower", "merged"], 2,
         "-o lowerdir=lower,lowerdir=lower: lowerdir stands twice"),
        (["--layer", "lower"], 2, "MERGED is missing"),
        (["--layer", "lower", "merged", "ls"], 2, "unexpected argument 'ls'"),
    ],
)  # fmt: skip
def test_what_cannot_be_mounted(lamina: Lamina, directories: Path, words: list[str], status: int, stderr: str) -> None:
    if "ls" not in words:
        words = [*words, "--", "true"]
    done = lamina("mount", *words, status=status)
    assert done.stderr.splitlines()[0] == f"lamina: {stderr.format(directories)}"
    assert len(done.stderr.splitlines()) <= 2
    assert not list((directories / "upper").iterdir()) and not list((directories / "work").iterdir())
