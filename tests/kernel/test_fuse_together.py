"""Several processes at once on our mount: nothing fails that may not, and the kernel sees the same tree afterwards."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lamina.overlay.fuse.start import start
from lamina.overlay.stack import Overlay
from tests.helpers.effort import effort
from tests.helpers.unions import Mounted, mount_kernel, snapshot, unmount

pytestmark = pytest.mark.requires("root", "overlay", "fuse")

# What may fail where names come and go meanwhile; anything else (EIO, ESTALE) is a defect.
_WORKER = """
import errno, os, random, sys, time
top, seed, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
os.chdir(top)
chance = random.Random(seed)
may_be = {errno.ENOENT, errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR, errno.EISDIR, errno.EPERM, errno.ELOOP}
may_be.add(errno.EINVAL)  # a directory into itself
names = [f"n{i}" for i in range(6)]

def path():
    return "/".join(chance.choices(names, k=chance.randrange(1, 4)))

def write():
    with open(path(), "r+b" if chance.random() < 0.5 else "wb") as file:
        file.write(b"x" * chance.randrange(20000))

def read():
    with open(path(), "rb") as file:
        file.read()

def link():
    os.link(path(), path(), follow_symlinks=False)

def remove():
    p = path()
    try:
        os.unlink(p)
    except IsADirectoryError:
        os.rmdir(p)

def walk():
    for folder, directories, files in os.walk("."):
        for name in directories + files:
            os.lstat(os.path.join(folder, name))

steps = [write, write, read, link, remove, walk,
         lambda: os.mkdir(path()), lambda: os.mkdir(path()), lambda: os.rename(path(), path()),
         lambda: os.rename(path(), path()), lambda: os.chmod(path(), 0o640), lambda: os.truncate(path(), 100),
         lambda: os.symlink("n0", path()), lambda: os.setxattr(path(), "user.x", b"1"), lambda: os.listdir(path())]
end, done = time.monotonic() + seconds, 0
while time.monotonic() < end:
    try:
        chance.choice(steps)()
    except OSError as error:
        if error.errno not in may_be:
            raise
    done += 1
assert done > 50, done
"""


def _make(top: Path) -> list[Path]:
    layers = [top / "base", top / "middle"]
    for number, layer in enumerate(layers):
        for first in range(4):
            for second in range(3):
                folder = layer / f"n{first}" / f"n{second}"
                folder.mkdir(parents=True)
                (folder / f"n{number}").write_text("from below" * 500)
        (layer / f"n{4 + number}").write_text("a file")
    return layers


def test_many_at_once(scratch: Path) -> None:
    seconds = effort(short=3, long=120)
    layers = _make(scratch)
    _together(scratch, layers, [[_WORKER, str(seed), str(seconds)] for seed in range(5)], lambda _: None)


def _together(scratch: Path, layers: list[Path], workers: list[list[str]], look: Callable[[Path], None]) -> None:
    """Run workers at once over a mount, `look` at it, and see that the kernel finds the same in the upper."""
    for name in ("upper", "work", "merged"):
        (scratch / name).mkdir()
    merged = scratch / "merged"
    overlay = Overlay(
        [str(layer) for layer in layers],
        upper=str(scratch / "upper"),
        work=str(scratch / "work"),
        options=[("volatile", "")],
    )
    server = start(overlay, str(merged), threads=4)
    try:
        running = [
            subprocess.Popen([sys.executable, "-c", code, str(merged), *words], stderr=subprocess.PIPE, text=True)
            for code, *words in workers
        ]
        said = [worker.communicate()[1] for worker in running]
        assert said == [""] * len(workers)
        look(merged)
        ours = snapshot(Mounted(merged))
    finally:
        unmount(merged)
        assert server.wait_end() == 0, server.trouble
    assert server.trouble == ""
    mount_kernel(layers, scratch / "upper", scratch / "work", merged, "redirect_dir=on", "index=on")
    try:
        look(merged)
        assert snapshot(Mounted(merged)) == ours
    finally:
        unmount(merged)


# Each has tokens of its own, which it writes to and moves between rooms; rooms move, too. Others' tokens are read.
_KEEPER = """
import os, random, sys, time
top, me, count, rooms, seconds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5])
os.chdir(top)
chance = random.Random(me)

def opened(number):
    while True:  # it may be moving
        for name in (f"room{number}", f"moved{number}"):
            try:
                return os.open(name, os.O_RDONLY | os.O_DIRECTORY)
            except FileNotFoundError:
                continue

where = [opened(number) for number in range(rooms)]
mine = {f"token{me}-{number}": [number % rooms, 0] for number in range(count)}
end, done = time.monotonic() + seconds, 0
while time.monotonic() < end:
    token = chance.choice(list(mine))
    room, lines = mine[token]
    act = chance.randrange(6)
    if act < 2:
        fd = os.open(token, os.O_WRONLY | os.O_APPEND, dir_fd=where[room])
        os.write(fd, b"line %d\\n" % lines)
        os.close(fd)
        mine[token][1] += 1
    elif act < 4:
        to = chance.randrange(rooms)
        os.rename(token, token, src_dir_fd=where[room], dst_dir_fd=where[to])
        mine[token][0] = to
    elif act == 4:  # a new file in its place, as editors do
        fd = os.open(token, os.O_RDONLY, dir_fd=where[room])
        data = b"".join(iter(lambda: os.read(fd, 65536), b""))
        os.close(fd)
        assert data == b"token\\n" + b"".join(b"line %d\\n" % line for line in range(lines)), data
        fd = os.open(token + ".new", os.O_WRONLY | os.O_CREAT | os.O_EXCL, dir_fd=where[room])
        os.write(fd, data)
        os.close(fd)
        os.rename(token + ".new", token, src_dir_fd=where[room], dst_dir_fd=where[room])
    else:
        number = chance.randrange(rooms)
        for name in os.listdir(where[number]):
            try:
                fd = os.open(name, os.O_RDONLY, dir_fd=where[number])
            except FileNotFoundError:
                continue
            data = b"".join(iter(lambda: os.read(fd, 65536), b""))
            os.close(fd)
            assert name.endswith(".new") or data.startswith(b"token\\n"), (name, data)
        if me == 0:
            for old, new in ((f"room{number}", f"moved{number}"), (f"moved{number}", f"room{number}")):
                if os.path.exists(old):
                    os.rename(old, new)
                    break
    done += 1
assert done > 50, done
for token, (room, lines) in mine.items():
    fd = os.open(token, os.O_RDONLY, dir_fd=where[room])
    data = b"".join(iter(lambda: os.read(fd, 65536), b""))
    assert data == b"token\\n" + b"".join(b"line %d\\n" % line for line in range(lines)), (token, data)
"""


def test_nothing_is_lost_or_there_twice(scratch: Path) -> None:
    keepers, tokens, rooms = 4, 12, 4
    layers = [scratch / "base", scratch / "middle"]
    for number in range(rooms):
        for layer in layers:
            (layer / f"room{number}").mkdir(parents=True)
    names = [f"token{keeper}-{number}" for keeper in range(keepers) for number in range(tokens)]
    for at, name in enumerate(names):
        room = int(name.partition("-")[2]) % rooms
        (layers[at % 2] / f"room{room}" / name).write_text("token\n")

    def look(merged: Path) -> None:
        found = [name for _, _, files in os.walk(merged) for name in files]
        assert sorted(found) == sorted(names)
        folders = sorted(name.removeprefix("room").removeprefix("moved") for name in os.listdir(merged))
        assert folders == [str(number) for number in range(rooms)]

    seconds = str(effort(short=3, long=180))
    workers = [[_KEEPER, str(me), str(tokens), str(rooms), seconds] for me in range(keepers)]
    _together(scratch, layers, workers, look)
