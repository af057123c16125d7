"""Removing trees that resist, and measuring them."""

from __future__ import annotations

import os
from pathlib import Path

from lamina.layer import jobs


def _deep(top: Path, levels: int) -> None:
    here = os.open(top, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir("d" * 100, dir_fd=here)
        deeper = os.open("d" * 100, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = deeper
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)


def test_deeper_than_paths_and_descriptors_go(tmp_path: Path) -> None:
    top = tmp_path / "top"
    top.mkdir()
    _deep(top, 1500)
    assert jobs.disk_usage(path=str(top))["entries"] == 1501
    jobs.remove_tree(path=str(top))
    assert not top.exists()


def test_closed_directories(tmp_path: Path) -> None:
    for name, mode in {"a": 0, "b": 0o500, "c": 0o300, "d": 0o600}.items():
        inner = tmp_path / "top" / name / "inner"
        inner.mkdir(parents=True)
        (inner / "f").touch()
        inner.chmod(mode)
        inner.parent.chmod(mode)
    jobs.remove_tree(path=str(tmp_path / "top"))
    assert not list(tmp_path.iterdir())


def test_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept/f").touch()
    (tmp_path / "top").mkdir()
    (tmp_path / "top/link").symlink_to(tmp_path / "kept")
    (tmp_path / "other").symlink_to(tmp_path / "kept")
    jobs.remove_tree(path=str(tmp_path / "top"))
    jobs.remove_tree(path=str(tmp_path / "other"))
    assert sorted(os.listdir(tmp_path)) == ["kept"]
    assert (tmp_path / "kept/f").exists()


def test_absence_is_accepted(tmp_path: Path) -> None:
    jobs.remove_tree(path=str(tmp_path / "no/such"))
    jobs.remove_tree(path=str(tmp_path / "none"))
