"""Copying with holes, xattrs by descriptor, renaming with flags, closing ranges."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lamina.linux import files, xattr


@pytest.mark.parametrize(
    "pieces", [[], [b"x"], [8192], [b"x" * 5000, 1 << 20, b"y", 1 << 20], [1 << 20, b"z" * 4096], [b"a" * 3_000_000]]
)
def test_copy_data_keeps_holes(tmp_path: Path, pieces: list[bytes | int]) -> None:
    with (tmp_path / "source").open("xb") as file:
        for piece in pieces:
            if isinstance(piece, int):
                file.seek(piece, os.SEEK_CUR)
            else:
                file.write(piece)
        file.truncate(file.tell())
    with (tmp_path / "source").open("rb") as source, (tmp_path / "copy").open("xb") as copy:
        files.copy_data(source.fileno(), copy.fileno())
    assert (tmp_path / "copy").read_bytes() == (tmp_path / "source").read_bytes()
    assert (tmp_path / "copy").stat().st_blocks <= (tmp_path / "source").stat().st_blocks + 8


def test_copy_range_of_what_ends_too_early(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"short")
    source, copy = os.open(tmp_path / "source", os.O_RDONLY), os.open(tmp_path / "copy", os.O_WRONLY | os.O_CREAT)
    with pytest.raises(OSError, match="became shorter"):
        files.copy_range(source, copy, 0, 10)
    os.close(source)
    os.close(copy)


def test_renameat2(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    (tmp_path / "b").write_text("b")
    fd = os.open(tmp_path, os.O_RDONLY)
    with pytest.raises(FileExistsError):
        files.renameat2(fd, b"a", fd, b"b", files.RENAME_NOREPLACE)
    files.renameat2(fd, b"a", fd, b"b", files.RENAME_EXCHANGE)
    os.close(fd)
    assert (tmp_path / "a").read_text() == "b"


def test_close_range() -> None:
    first = os.dup(0)
    files.close_range(first, first, 0)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(first)
    second = os.dup(0)
    os.set_inheritable(second, True)
    files.close_range(second, second, files.CLOSE_RANGE_CLOEXEC)
    assert not os.get_inheritable(second)
    os.close(second)


def test_xattrs(tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    (tmp_path / "l").symlink_to("f")
    directory = os.open(tmp_path, os.O_RDONLY)
    name = b"user.\xff"
    for flags in (os.O_RDONLY, os.O_PATH):
        fd = os.open(tmp_path / "f", flags)
        assert xattr.getxattr(fd, name) is None
        xattr.setxattr(fd, name, b"\0v")
        assert xattr.getxattr(fd, name) == xattr.getxattr(directory, name, at=b"f") == b"\0v"
        assert name in xattr.listxattr(fd) and name in xattr.listxattr(directory, at=b"f")
        # The link itself has none, and is not followed.
        assert xattr.getxattr(directory, name, at=b"l") is None
        assert name not in xattr.listxattr(directory, at=b"l")
        link = os.open(tmp_path / "l", os.O_PATH | os.O_NOFOLLOW)
        assert xattr.getxattr(link, name) is None
        os.close(link)
        xattr.removexattr(fd, name)
        xattr.removexattr(directory, name, at=b"f")
        os.close(fd)
    with pytest.raises(FileNotFoundError):
        xattr.getxattr(directory, name, at=b"absent")
    os.close(directory)
