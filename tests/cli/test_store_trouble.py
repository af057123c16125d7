"""A store on a full or read-only disk, a closed output, a working directory that is gone: one clear line each."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.command import Done, Lamina, program, run
from tests.helpers.disk import Disk, disk
from tests.helpers.rootfs import make_rootfs
from tests.helpers.work import bench

_LINE = re.compile(r"lamina: [^\n]+\n(hint: [^\n]+\n)?")
_NO_SPACE = "No space left on device"


def expect_one_line(done: Done, *, progress: bool = False) -> None:
    """Fail unless the command ended with 125 and one line that says why; `build` shows its steps before."""
    assert done.status == 125, done
    assert "Traceback" not in done.stderr
    assert "a defect" not in done.stderr
    if progress:
        assert len(_LINE.findall(done.stderr)) == 1, done.stderr
    else:
        assert _LINE.fullmatch(done.stderr), done.stderr


@pytest.fixture(params=["bytes", "inodes"])
def small(scratch: Path, request: pytest.FixtureRequest) -> Iterator[Disk]:
    inodes = 700 if request.param == "inodes" else 0
    with disk(scratch, size=48 << 20, inodes=inodes, options="noatime") as made:
        yield made


@pytest.mark.requires("loop", "overlay")
def test_a_full_disk(small: Disk, scratch: Path, request: pytest.FixtureRequest) -> None:
    """Each command on a disk with no room at all, and with so little that it is used up in the middle."""
    with bench(Lamina(small.path / "store", cwd=scratch), scratch) as here:
        fails = 0
        for task in here.tasks:
            for room in (0, 12):
                kept = here.prepare(task)
                _fill(small.path / "fill", room)
                done = here.lamina(*task.words, status=None)
                if done.status:
                    fails += 1
                    expect_one_line(done, progress=task.name == "build")
                    assert _NO_SPACE in done.stderr
                _empty(small.path / "fill")
                here.look_after(task, kept, done=done.status == 0)
        assert fails >= len(here.tasks), "the disk was not full"
        here.expect_nothing_more()


def _fill(place: Path, room: int) -> None:
    """Take all room but that for `room` blocks or names."""
    place.mkdir()
    number = 0
    try:
        with open(place / "bytes", "xb", buffering=0) as file:
            while file.write(bytes(1 << 20)) == 1 << 20:
                pass
    except OSError:
        pass
    try:
        while True:
            (place / str(number)).touch()
            number += 1
    except OSError:
        pass
    os.truncate(place / "bytes", max(os.stat(place / "bytes").st_size - room * 4096, 0))
    for name in range(number - min(room, number), number):
        (place / str(name)).unlink()


def _empty(place: Path) -> None:
    for path in place.iterdir():
        path.unlink()
    place.rmdir()


@pytest.mark.requires("loop", "overlay")
def test_a_read_only_store(scratch: Path) -> None:
    with disk(scratch, size=48 << 20) as made, bench(Lamina(made.path / "store", cwd=scratch), scratch) as here:
        for task in here.tasks:
            here.prepare(task)
            run(["mount", "-o", "remount,ro", str(made.path)])
            done = here.lamina(*task.words, status=None)
            run(["mount", "-o", "remount,rw", str(made.path)])
            expect_one_line(done)
            here.lamina(*task.words)
            here.reset(task)
        here.expect_nothing_more()


#: Commands that print, with the store's one image.
PRINTING = (
    ("images",), ("ps", "--all"), ("inspect", "base:1"), ("history", "base:1"), ("show", "base:1"), ("store", "du"),
    ("store", "check"), ("doctor",), ("--help",), ("completion", "bash"), ("run", "--rm", "base:1", "true"),
    ("tag", "base:1", "other:1"), ("prune", "--force"), ("rmi", "other:1"),
)  # fmt: skip


@pytest.fixture
def based(lamina: Lamina, scratch: Path) -> Lamina:
    make_rootfs(scratch / "rootfs")
    lamina("import", scratch / "rootfs", "base:1")
    return lamina


def _shell(lamina: Lamina, script: str, **more: str) -> Done:
    words = " ".join(map(shlex.quote, program()))
    env = {**lamina.environment(), **more}
    return run(["sh", "-c", script.replace("LAMINA", words)], env=env, cwd=lamina.cwd, status=None)


@pytest.mark.requires("overlay", "userns")
def test_standard_output_that_is_closed_full_or_let_go(based: Lamina) -> None:
    for words in PRINTING:
        command = " ".join(words)
        closed = _shell(based, f"LAMINA {command} >&-")
        assert closed.status in (0, 1), closed
        assert closed.stderr == ""
        if words[0] in ("tag", "rmi"):
            continue  # which cannot be done twice, and print nothing
        let_go = _shell(based, f"{{ LAMINA {command}; echo $? >&2; }} | head -n 0")
        assert let_go.stderr in ("0\n", "1\n", "141\n"), let_go
        if based(*words, status=None).stdout:
            full = _shell(based, f"LAMINA {command} >/dev/full")
            expect_one_line(full)
            assert _NO_SPACE in full.stderr


def test_standard_error_that_is_full(lamina: Lamina) -> None:
    assert _shell(lamina, "LAMINA run --rm nothing:1 true 2>/dev/full").status == 125
    assert _shell(lamina, "LAMINA no-such-command 2>/dev/full").status == 2


@pytest.mark.requires("overlay", "userns")
def test_a_working_directory_that_is_gone(based: Lamina, scratch: Path) -> None:
    for words in (*PRINTING, ("import", str(scratch / "rootfs"), "new:1")):
        script = f"mkdir gone && cd gone && rmdir ../gone && LAMINA {' '.join(words)}"
        done = _shell(based, script)
        assert done.status == 0, done
        assert "lamina:" not in done.stderr
    # What means the directory itself cannot work, and says so.
    gone = "lamina: the working directory does not exist any more"
    for command, expected in [
        ("import rootfs new:2", gone),
        ("build .", gone),
        ("run --rm -v ./data:/data base:1 true", gone),
        ("--root here images", gone),
    ]:
        done = _shell(based, f"mkdir gone && cd gone && rmdir ../gone && LAMINA {command}")
        assert done.status == 125, done
        said = [line for line in done.stderr.splitlines() if not line.startswith(("sh: ", "hint: "))]
        assert said == [expected], done.stderr


def test_a_store_below_a_file(lamina: Lamina, scratch: Path) -> None:
    (scratch / "file").touch()
    for words in (("images",), ("import", str(scratch), "new:1"), ("prune", "--force")):
        done = run([*program(), *words], env={**lamina.environment(), "LAMINA_ROOT": str(scratch / "file/store")},
                   status=None)  # fmt: skip
        expect_one_line(done)
        assert "Not a directory" in done.stderr
