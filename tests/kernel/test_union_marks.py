"""Marks in unusual company, as nobody's tests make them by chance: the kernel shows the same tree as our union."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from lamina.overlay.union.union import Union
from tests.helpers.command import Lamina
from tests.helpers.unions import InProcess, Mounted, mount_kernel, snapshot, unmount

pytestmark = pytest.mark.requires("root", "overlay")

#: The upper, and the layers with the topmost first.
Build = Callable[[Path, Path, Path, Path], None]


def mark(path: Path, name: str, value: bytes = b"y") -> None:
    os.setxattr(path, f"trusted.overlay.{name}", value)


def redirected(path: Path, to: bytes) -> None:
    path.mkdir(parents=True)
    mark(path, "redirect", to)


def whiteout(path: Path) -> None:
    os.mknod(path, stat.S_IFCHR)


def metacopy(path: Path, mode: int, to: bytes = b"") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    os.truncate(path, 2)
    mark(path, "metacopy", b"")
    if to:
        mark(path, "redirect", to)
    path.chmod(mode)


def chained_redirects(upper: Path, top: Path, middle: Path, base: Path) -> None:
    for layer, old, new in ((middle, "d", "e"), (top, "e", "g"), (upper, "g", "h")):
        redirected(layer / new, b"/" + old.encode())
        whiteout(layer / old)


def opaque_in_redirected(upper: Path, top: Path, middle: Path, base: Path) -> None:
    redirected(middle / "e", b"/d")
    (middle / "e/s").mkdir()
    mark(middle / "e/s", "opaque")
    (middle / "e/s/new").write_text("new")


def name_beside_in_redirected(upper: Path, top: Path, middle: Path, base: Path) -> None:
    redirected(middle / "e", b"/d")
    whiteout(middle / "e/a")
    redirected(top / "e/q", b"s")


def whiteouts_below_a_redirect(upper: Path, top: Path, middle: Path, base: Path) -> None:
    (middle / "d").mkdir()
    mark(middle / "d", "opaque", b"x")
    (middle / "d/a").touch()
    mark(middle / "d/a", "whiteout")
    redirected(upper / "e", b"/d")
    whiteout(upper / "d")


def redirect_and_opaque(upper: Path, top: Path, middle: Path, base: Path) -> None:
    redirected(middle / "e", b"/d")
    mark(middle / "e", "opaque")


def redirects_to_nowhere(upper: Path, top: Path, middle: Path, base: Path) -> None:
    redirected(upper / "e", b"/nowhere")
    (upper / "e/x").write_text("x")
    redirected(upper / "g", b"/f")


def redirect_into_what_is_hidden(upper: Path, top: Path, middle: Path, base: Path) -> None:
    redirected(upper / "e", b"/d/s")
    (upper / "d").mkdir()
    mark(upper / "d", "opaque")


def redirect_into_a_redirected(upper: Path, top: Path, middle: Path, base: Path) -> None:
    redirected(middle / "e", b"/d")
    redirected(middle / "g", b"/d/s")


def moved_and_made_again(upper: Path, top: Path, middle: Path, base: Path) -> None:
    redirected(middle / "e", b"/d")
    (middle / "d").mkdir()
    (middle / "d/new").write_text("n")


def metacopies(upper: Path, top: Path, middle: Path, base: Path) -> None:
    metacopy(upper / "f", 0o600)
    metacopy(upper / "g", 0o640, b"/d/a")
    metacopy(upper / "d/s/b", 0o604)
    whiteout(upper / "d/a")


def chained_metacopies(upper: Path, top: Path, middle: Path, base: Path) -> None:
    metacopy(middle / "f", 0o640)
    metacopy(top / "f", 0o600)


def kinds_over_kinds(upper: Path, top: Path, middle: Path, base: Path) -> None:
    (middle / "d").write_text("file")
    (top / "d/s").mkdir(parents=True)
    (middle / "f").symlink_to("d")
    (upper / "f").mkdir()
    (upper / "f/x").write_text("x")


def directory_over_whiteout(upper: Path, top: Path, middle: Path, base: Path) -> None:
    whiteout(middle / "d")
    (top / "d").mkdir()
    (top / "d/z").write_text("z")


def values_of_opaque(upper: Path, top: Path, middle: Path, base: Path) -> None:
    (middle / "d/s").mkdir(parents=True)
    mark(middle / "d", "opaque", b"n")
    mark(middle / "d/s", "opaque", b"")


def garbage_origins(upper: Path, top: Path, middle: Path, base: Path) -> None:
    (upper / "d").mkdir()
    (upper / "f").write_text("upper")
    for name, value in {"d": b"\0garbage", "f": b"\0\xfb\x1d\0" + b"junk" * 6}.items():
        mark(upper / name, "origin", value)
    mark(upper, "impure")


def xattr_whiteouts(upper: Path, top: Path, middle: Path, base: Path) -> None:
    for directory, name in ((middle / "d", "a"), (top / "d/s", "b")):
        directory.mkdir(parents=True)
        mark(directory, "opaque", b"x")
        (directory / name).touch()
        mark(directory / name, "whiteout")


BUILDS: list[Build] = [
    chained_redirects, opaque_in_redirected, name_beside_in_redirected, whiteouts_below_a_redirect, redirect_and_opaque,
    redirects_to_nowhere, redirect_into_what_is_hidden, redirect_into_a_redirected, moved_and_made_again, metacopies,
    chained_metacopies, kinds_over_kinds, directory_over_whiteout, values_of_opaque, garbage_origins,
    xattr_whiteouts,
]  # fmt: skip


@pytest.mark.parametrize("build", BUILDS, ids=lambda build: build.__name__)
def test_same_as_the_kernel(scratch: Path, build: Build) -> None:
    layers = [scratch / name for name in ("base", "middle", "top")]
    upper, work, merged = (scratch / name for name in ("upper", "work", "merged"))
    for path in (*layers, upper, work, merged):
        path.mkdir()
    (layers[0] / "d/s").mkdir(parents=True)
    for name, text in {"d/a": "a0", "d/s/b": "b0", "f": "f0"}.items():
        (layers[0] / name).write_text(text)
    build(upper, *reversed(layers))
    mount_kernel(layers, upper, work, merged, "redirect_dir=on", "metacopy=on")
    try:
        shown = snapshot(Mounted(merged))
    finally:
        unmount(merged)
    with Union(layers, upper=upper, work=work, sync=False) as union:
        assert snapshot(InProcess(union)) == shown


@pytest.mark.requires("fuse")
def test_a_metacopy_that_names_nothing_is_listed_and_refused(scratch: Path, lamina: Lamina) -> None:
    """The mark is one that overlayfs writes, so that only the layers can tell: whoever meets the file is told."""
    for name in ("base", "upper", "work", "merged"):
        (scratch / name).mkdir()
    (scratch / "upper/other").write_text("other")
    metacopy(scratch / "upper/stub", 0o600)
    look = "cd merged && ls; cat stub; cat other; LC_ALL=C stat -c %s stub"
    stack = ("--layer", "base", "--upper", "upper", "--work", "work", "merged")
    for driver in ("kernel", "fuse"):
        done = lamina("mount", "--driver", driver, *stack, "--", "sh", "-c", look, status=1)
        assert done.stdout == "other\nstub\nother"
        assert done.stderr.count("Operation not permitted") == 2
    with Union([scratch / "base"], upper=scratch / "upper", work=scratch / "work") as union:
        assert union.listdir() == ["other", "stub"]
        with pytest.raises(PermissionError):
            union.read_text("stub")
    found = lamina("upper", "check", *stack[:-1], status=1)
    assert found.stdout == "stub: its data are in no layer\n"


@pytest.mark.requires("fuse")
def test_an_xattr_whiteout_where_none_is_announced(scratch: Path, lamina: Lamina) -> None:
    """The kernel lists a name that it does not find; with us lookup and listing agree (docs/limits.md)."""
    for name in ("base/d", "top/d", "merged"):
        (scratch / name).mkdir(parents=True)
    (scratch / "base/d/file").write_text("below")
    (scratch / "top/d/file").touch()
    mark(scratch / "top/d/file", "whiteout")
    stack = ("--layer", "base", "--layer", "top", "merged", "--", "sh", "-c", "ls merged/d; cat merged/d/file")
    assert lamina("mount", "--driver", "kernel", *stack, status=1).stdout == "file\n"
    assert lamina("mount", "--driver", "fuse", *stack).stdout == "file\n"
    with Union([scratch / "base", scratch / "top"]) as union:
        assert union.listdir("d") == ["file"] and union.read_text("d/file") == ""
