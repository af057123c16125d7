"""The marks of overlayfs: all spellings are recognised, one is written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from lamina.overlay import format as marks


@pytest.fixture
def fd(tmp_path: Path) -> Iterator[int]:
    opened = os.open(tmp_path, os.O_RDONLY)
    yield opened
    os.close(opened)


def _is_whiteout(fd: int, name: bytes) -> bool:
    return marks.is_whiteout(fd, name, os.stat(name, dir_fd=fd, follow_symlinks=False), marks.opacity_of(fd))


def test_a_device_is_a_whiteout(fd: int) -> None:
    marks.write_whiteout(fd, b"gone", marks.USER)
    assert _is_whiteout(fd, b"gone")
    with pytest.raises(FileExistsError):
        marks.write_whiteout(fd, b"gone", marks.USER)
    assert marks.opacity_of(fd) == b""


def test_an_xattr_is_a_whiteout_only_where_the_directory_says_so(tmp_path: Path, fd: int) -> None:
    (tmp_path / "kept").touch()
    marks.write_xattr_whiteout(fd, b"gone", marks.USER)
    assert marks.opacity_of(fd) == b"x"
    assert _is_whiteout(fd, b"gone") and not _is_whiteout(fd, b"kept")
    (tmp_path / "gone").write_bytes(b"x")
    assert not _is_whiteout(fd, b"gone")
    (tmp_path / "gone").write_bytes(b"")
    os.removexattr(tmp_path, "user.overlay.opaque")
    assert not _is_whiteout(fd, b"gone")
    os.setxattr(tmp_path, "user.overlay.whiteouts", b"y")  # as Linux 6.7 said it
    assert marks.opacity_of(fd) == b"x" and _is_whiteout(fd, b"gone")
    marks.set_opaque(fd, marks.USER)
    with pytest.raises(OSError, match="needs no whiteout"):
        marks.write_xattr_whiteout(fd, b"other", marks.USER)


def test_links_and_special_files_are_no_whiteouts(tmp_path: Path, fd: int) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    os.mkfifo(tmp_path / "fifo")
    assert not _is_whiteout(fd, b"link") and not _is_whiteout(fd, b"fifo")


@pytest.mark.parametrize(
    ("xattr", "value", "opacity"),
    [
        ("user.overlay.opaque", b"y", b"y"), ("user.overlay.opaque", b"x", b"x"), ("user.overlay.opaque", b"n", b""),
        ("user.fuseoverlayfs.opaque", b"y", b"y"), ("user.overlay.overlay.opaque", b"y", b""),
        ("user.overlay.impure", b"y", b""),
    ],
)  # fmt: skip
def test_opaque_directories(tmp_path: Path, fd: int, xattr: str, value: bytes, opacity: bytes) -> None:
    (tmp_path / "d").mkdir()
    os.setxattr(tmp_path / "d", xattr, value)
    assert marks.opacity_of(fd, at=b"d") == opacity
    assert marks.is_mark(xattr.encode())


def test_an_opaque_file_counts(tmp_path: Path, fd: int) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d/.wh..wh..opq").touch()
    assert marks.opacity_of(fd, at=b"d") == b"y"
    inner = os.open(tmp_path / "d", os.O_PATH)
    assert marks.opacity_of(inner) == b"y"
    os.close(inner)


@pytest.mark.parametrize("value", [b"/a/b", b"name", b"..name", b"\xff", b"/a"])
def test_redirects(tmp_path: Path, fd: int, value: bytes) -> None:
    assert marks.redirect_of(fd) is None
    os.setxattr(tmp_path, "user.overlay.redirect", value)
    assert marks.redirect_of(fd) == value


@pytest.mark.parametrize("value", [b"", b"/", b"..", b"/a/../b", b"a/b", b"/a//b", b"./a", b"/../etc", b"a\0b", b"/a/"])
def test_redirects_that_lead_astray(tmp_path: Path, fd: int, value: bytes) -> None:
    os.setxattr(tmp_path, "user.overlay.redirect", value)
    with pytest.raises(OSError, match="not a path in the stack"):
        marks.redirect_of(fd)


def test_metacopies(tmp_path: Path, fd: int) -> None:
    (tmp_path / "f").touch()
    assert not marks.is_metacopy(fd, at=b"f")
    os.setxattr(tmp_path / "f", "user.overlay.metacopy", b"")
    assert marks.is_metacopy(fd, at=b"f")


def test_names() -> None:
    assert marks.whited_out_name(b".wh.a") == b"a"
    assert marks.whited_out_name(b".wh.") == b""
    assert marks.whited_out_name(b".wh..wh..opq") is None
    assert marks.whited_out_name(b".wh..wh.plnk") is None
    assert marks.whited_out_name(b".what") is None
    assert marks.is_mark(b"trusted.overlay.origin") and not marks.is_mark(b"trusted.overlayed")
