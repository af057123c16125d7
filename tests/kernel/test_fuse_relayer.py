"""`lamina remount`: layers added, exchanged and taken away under a mount whose names, pages and listings are cached."""

from __future__ import annotations

import errno
import mmap
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from lamina.overlay.fuse.control import set_layers
from tests.helpers.command import Lamina, run
from tests.helpers.wait import until

pytestmark = pytest.mark.requires("mounts", "fuse")


@pytest.fixture
def place(lamina: Lamina, scratch: Path) -> Iterator[Path]:
    for name in ("base/sub/deep", "old/sub", "new/sub/other", "upper", "work", "merged"):
        (scratch / name).mkdir(parents=True)
    for path, text in {
        "base/kept": "kept", "base/sub/kept": "kept", "base/both": "base", "old/both": "old", "old/gone": "gone",
        "old/sub/gone": "gone", "new/both": "new", "new/fresh": "fresh", "new/sub/fresh": "fresh",
        "new/sub/other/file": "file", "base/sub/deep/file": "deep",
    }.items():  # fmt: skip
        (scratch / path).write_text(text)
    words = ["--layer", "base", "--layer", "old", "--upper", "upper", "--work", "work", "merged"]
    lamina("mount", "--driver", "fuse", *words, cwd=scratch)
    yield scratch
    run(["umount", str(scratch / "merged")])
    until(lambda: not any(str(scratch) in line for line in _processes()), "the server ends")


def _processes() -> Iterator[str]:
    for name in filter(str.isdecimal, os.listdir("/proc")):
        try:
            yield Path("/proc", name, "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue


def seen(merged: Path) -> dict[str, str | list[str]]:
    """Return all that the mount shows, having cached it."""
    found: dict[str, str | list[str]] = {}
    for folder, directories, files in os.walk(merged):
        here = os.path.relpath(folder, merged)
        found[here] = sorted([*directories, *files])
        for name in files:
            found[os.path.normpath(f"{here}/{name}")] = Path(folder, name).read_text()
    return found


def test_a_layer_is_exchanged_under_all_caches(lamina: Lamina, place: Path) -> None:
    merged = place / "merged"
    before = seen(merged)
    assert before["both"] == "old" and before["."] == ["both", "gone", "kept", "sub"]
    for name in ("fresh", "sub/fresh", "sub/other"):
        assert not (merged / name).exists()  # which the kernel remembers
    inode = (merged / "kept").stat().st_ino
    lamina("remount", "--layer", "base", "--layer", "new", "merged", cwd=place)
    for name in ("gone", "sub/gone"):
        assert not (merged / name).exists()
    assert seen(merged) == {
        ".": ["both", "fresh", "kept", "sub"], "sub": ["deep", "fresh", "kept", "other"], "sub/deep": ["file"],
        "sub/other": ["file"], "both": "new", "fresh": "fresh", "kept": "kept", "sub/kept": "kept",
        "sub/fresh": "fresh", "sub/deep/file": "deep", "sub/other/file": "file",
    }  # fmt: skip
    assert (merged / "kept").stat().st_ino == inode
    lamina("remount", "--layer", "base", "--layer", "old", "merged", cwd=place)
    assert seen(merged) == before


def test_layers_are_added_and_taken_away_below_the_upper(lamina: Lamina, place: Path) -> None:
    merged = place / "merged"
    (merged / "kept").write_text("changed")
    (merged / "sub/mine").write_text("mine")
    (merged / "both").unlink()
    lamina("remount", "-l", "base", "-l", "old", "-l", "new", "merged", cwd=place)
    after = seen(merged)
    assert after["."] == ["fresh", "gone", "kept", "sub"] and after["kept"] == "changed"
    assert after["sub"] == ["deep", "fresh", "gone", "kept", "mine", "other"]
    lamina("remount", "-l", "new", "merged", cwd=place)
    after = seen(merged)
    assert after["."] == ["fresh", "kept", "sub"] and after["sub"] == ["fresh", "mine", "other"]
    (merged / "sub/fresh").write_text("copied up")
    (merged / "sub/other").rename(merged / "moved")
    assert (place / "upper/sub/fresh").read_text() == "copied up"
    assert (place / "new/sub/fresh").read_text() == "fresh"
    assert (merged / "moved/file").read_text() == "file"


def test_what_is_open_stays_what_it_was(lamina: Lamina, place: Path) -> None:
    merged = place / "merged"
    folder = os.open(merged / "sub", os.O_RDONLY)
    with (
        (merged / "both").open("rb") as changed,
        (merged / "gone").open("rb") as gone,
        (merged / "kept").open("r+b") as kept,
    ):
        pages = mmap.mmap(changed.fileno(), 0, prot=mmap.PROT_READ)
        lamina("remount", "-l", "base", "-l", "new", "merged", cwd=place)
        assert (merged / "both").read_text() == "new"
        assert (changed.read(), gone.read(), pages[:]) == (b"old", b"gone", b"old")
        kept.write(b"KEPT")
        pages.close()
    assert (merged / "kept").read_text() == (place / "upper/kept").read_text() == "KEPT"
    assert os.stat("fresh", dir_fd=folder).st_size == 5
    os.close(folder)


def test_a_directory_that_is_no_longer_shown_is_a_removed_one(lamina: Lamina, place: Path) -> None:
    merged = place / "merged"
    fd = os.open(merged / "sub/deep", os.O_RDONLY | os.O_DIRECTORY)
    try:
        lamina("remount", "-l", "new", "merged", cwd=place)
        assert os.listdir(fd) == []
        with pytest.raises(OSError) as caught:
            os.mkdir("made", dir_fd=fd)
        assert caught.value.errno in (errno.ENOENT, errno.ESTALE)
    finally:
        os.close(fd)


def test_bad_orders_change_nothing(lamina: Lamina, place: Path) -> None:
    before = seen(place / "merged")
    done = lamina("remount", "-l", "base", "-l", "absent", "merged", status=125, cwd=place)
    assert done.stderr.startswith("lamina: cannot use the layer") and "absent" in done.stderr
    assert "it is no mount of our own driver" in lamina("remount", "-l", "base", "upper", status=125, cwd=place).stderr
    assert lamina("remount", "merged", status=2, cwd=place).stderr.startswith("lamina: ")
    assert seen(place / "merged") == before


def test_layers_change_under_readers_and_writers(lamina: Lamina, place: Path) -> None:
    merged = place / "merged"
    stopped = threading.Event()
    wrong: list[str] = []

    def use(number: int) -> None:
        while not stopped.is_set():
            if (merged / "kept").read_text() != "kept":
                wrong.append("kept")
            try:
                if (text := (merged / "both").read_text()) not in ("old", "new"):
                    wrong.append(text)
                list(os.walk(merged))
                (merged / f"sub/mine{number}").write_text("mine")
                (merged / f"sub/mine{number}").rename(merged / f"sub/moved{number}")
                (merged / f"sub/moved{number}").unlink()
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.ESTALE):
                    wrong.append(str(error))

    users = [threading.Thread(target=use, args=(number,)) for number in range(2)]
    for user in users:
        user.start()
    try:
        for number in range(12):
            set_layers(str(merged), [str(place / "base"), str(place / ("old", "new")[number % 2])], os.environ)
    finally:
        stopped.set()
        for user in users:
            user.join()
    assert wrong == []
