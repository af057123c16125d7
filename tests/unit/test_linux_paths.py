"""Paths beneath a root: openat2 and the walk that stands in for it give the same, and nothing leads outside."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from lamina.linux import paths

Open = Callable[[int, bytes, int, int], int]


def _walk(resolve: int) -> Open:
    return lambda root, path, flags, mode: paths.walk(root, path, flags, mode, resolve)


IN_ROOT = [paths.open_in_root, _walk(paths.RESOLVE_IN_ROOT)]
BENEATH = [paths.open_beneath, _walk(paths.RESOLVE_BENEATH)]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    top = tmp_path / "root"
    (top / "d/e").mkdir(parents=True)
    (top / "d/f").write_text("inside")
    (top / "etc").mkdir()
    (top / "etc/passwd").write_text("inside")
    (tmp_path / "secret").write_text("outside")
    for name, target in {
        "rel": "d/f", "abs": "/d/f", "up": "../secret", "far": "d/e/../../../../secret", "loop": "loop", "dir": "/d",
        "etc/up": "../d/f", "chain": "dir/e/../f", "dangling": "new", "host": "/etc/passwd", "d/e/top": "/..",
    }.items():  # fmt: skip
        (top / name).symlink_to(target)
    return top


def _read(open_: Open, root: Path, path: bytes, flags: int = os.O_RDONLY) -> str | int:
    """Return what is read through `path`, or the errno."""
    top = os.open(root, os.O_PATH)
    try:
        fd = open_(top, path, flags, 0o600)
    except OSError as error:
        return error.errno or 0
    finally:
        os.close(top)
    with os.fdopen(fd) as file:
        assert not os.get_inheritable(file.fileno())
        return file.read()


@pytest.mark.parametrize("open_", IN_ROOT)
@pytest.mark.parametrize(
    ("path", "result"),
    [
        (b"d/f", "inside"), (b"/d/f", "inside"), (b"rel", "inside"), (b"abs", "inside"), (b"dir/f", "inside"),
        (b"chain", "inside"), (b"etc/up", "inside"), (b"../../d/f", "inside"), (b"host", "inside"),
        (b"d//./f", "inside"), (b"d/e/top/d/f", "inside"),
        (b"up", errno.ENOENT), (b"far", errno.ENOENT), (b"../secret", errno.ENOENT), (b"dangling", errno.ENOENT),
        (b"loop", errno.ELOOP), (b"loop/x", errno.ELOOP), (b"d/f/x", errno.ENOTDIR), (b"rel/x", errno.ENOTDIR),
        (b"d/f/", errno.ENOTDIR), (b"", errno.ENOENT), (b"n" * 256, errno.ENAMETOOLONG),
    ],
)  # fmt: skip
def test_in_root(open_: Open, root: Path, path: bytes, result: str | int) -> None:
    assert _read(open_, root, path) == result


@pytest.mark.parametrize("open_", BENEATH)
@pytest.mark.parametrize(
    ("path", "result"),
    [
        (b"d/f", "inside"), (b"rel", "inside"), (b"d/../d/f", "inside"), (b"etc/up", "inside"),
        (b"/d/f", errno.EXDEV), (b"abs", errno.EXDEV), (b"up", errno.EXDEV), (b"../secret", errno.EXDEV),
        (b"far", errno.EXDEV), (b"dir/f", errno.EXDEV), (b"x", errno.ENOENT),
    ],
)  # fmt: skip
def test_beneath(open_: Open, root: Path, path: bytes, result: str | int) -> None:
    assert _read(open_, root, path) == result


@pytest.mark.parametrize("open_", IN_ROOT)
def test_the_last_link_is_not_followed_if_so_asked(open_: Open, root: Path) -> None:
    assert _read(open_, root, b"rel", os.O_RDONLY | os.O_NOFOLLOW) == errno.ELOOP
    assert _read(open_, root, b"dir/f", os.O_RDONLY | os.O_NOFOLLOW) == "inside"
    top = os.open(root, os.O_PATH)
    link = open_(top, b"rel", os.O_PATH | os.O_NOFOLLOW, 0)
    assert os.readlink(b"", dir_fd=link) == b"d/f"
    os.close(link)
    os.close(top)


@pytest.mark.parametrize("open_", IN_ROOT)
def test_making(open_: Open, root: Path) -> None:
    assert _read(open_, root, b"dangling", os.O_RDWR | os.O_CREAT) == ""
    assert (root / "new").exists()
    assert _read(open_, root, b"d/new", os.O_RDWR | os.O_CREAT | os.O_EXCL) == ""
    assert _read(open_, root, b"d/new", os.O_RDWR | os.O_CREAT | os.O_EXCL) == errno.EEXIST
    assert _read(open_, root, b"up", os.O_RDWR | os.O_CREAT | os.O_EXCL) == errno.EEXIST
    assert _read(open_, root, b"up", os.O_RDWR | os.O_CREAT) == ""
    assert (root / "secret").read_text() == ""
    assert (root.parent / "secret").read_text() == "outside"


@pytest.mark.parametrize("open_", IN_ROOT)
def test_directories(open_: Open, root: Path) -> None:
    top = os.open(root, os.O_PATH)
    for path, same in {b".": root, b"/": root, b"..": root, b"dir/": root / "d", b"d/e/..": root / "d"}.items():
        fd = open_(top, path, os.O_RDONLY | os.O_DIRECTORY, 0)
        assert os.path.samestat(os.fstat(fd), same.stat())
        os.close(fd)
    os.close(top)


def test_parent(root: Path) -> None:
    top = os.open(root, os.O_PATH)
    fd, name = paths.open_parent(top, b"/dir/../d/e/")
    assert name == b"e"
    assert os.path.samestat(os.fstat(fd), (root / "d").stat())
    os.close(fd)
    for path in (b"/", b".", b"d/..", b""):
        with pytest.raises(OSError, match="Invalid argument"):
            paths.open_parent(top, path)
    os.close(top)
