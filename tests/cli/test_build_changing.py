"""A context that changes while it is read: one error with the place, no image, and nothing wrong in the cache.

The change comes after the files were digested and before they are copied: an ADD asks for its address in between.
"""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.helpers.command import Lamina
from tests.helpers.web import Page, Site, website

pytestmark = pytest.mark.requires("userns")


@pytest.fixture
def site() -> Iterator[Site]:
    with website() as site:
        yield site


def _context(scratch: Path, site: Site) -> Path:
    context = scratch / "context"
    (context / "src").mkdir(parents=True)
    (context / "src/file").write_bytes(b"x" * 3_000_000)
    (context / "Dockerfile").write_text(f"FROM scratch\nADD src archive.tar {site.url}/page /d/\n")
    with tarfile.open(context / "archive.tar", "w") as archive:
        archive.addfile(tarfile.TarInfo("unpacked"), io.BytesIO())
    return context


def _overwrite(context: Path) -> None:
    with (context / "src/file").open("r+b") as file:
        file.seek(2_000_000)
        file.write(b"y")


def _other_archive(context: Path) -> None:
    with tarfile.open(context / "archive.tar", "w") as archive:
        archive.addfile(tarfile.TarInfo("another"), io.BytesIO())


CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "content": (_overwrite, "src/file"),
    "size": (lambda context: os.truncate(context / "src/file", 10), "src/file"),
    "gone": (lambda context: (context / "src/file").unlink(), "src/file"),
    "new": (lambda context: (context / "src/new").touch(), "src/new"),
    "archive": (_other_archive, "archive.tar"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_file_that_changes_is_an_error(lamina: Lamina, scratch: Path, site: Site, name: str) -> None:
    context = _context(scratch, site)
    change, subject = CHANGES[name]
    pending = [change]
    site.pages["/page"] = Page(b"page", asked=lambda: pending and pending.pop()(context))
    done = lamina("build", "-t", "made:1", context, status=125)
    (told,) = [line for line in done.stderr.splitlines() if line.startswith("lamina: ")]
    assert "Dockerfile:2:1" in told
    assert subject in told
    assert "changed while it was read" in told
    assert ".dockerignore" in done.stderr
    assert lamina("images", "--all", "--quiet").lines() == []
    # What is there now is built, not what the refused build met.
    lamina("build", "-t", "made:1", context)
    assert not pending


def test_a_file_that_somebody_touches_is_none(lamina: Lamina, scratch: Path, site: Site) -> None:
    context = _context(scratch, site)
    site.pages["/page"] = Page(b"page", asked=lambda: os.utime(context / "src/file"))
    lamina("build", "-t", "made:1", context)
    assert site.count("/page") > 0
