"""What `check` finds in an upper, each planted alone, and that mending leaves nothing to find."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from lamina.errors import Conflict, InvalidInput
from lamina.overlay.stack import Overlay
from lamina.overlay.union.union import Union
from lamina.overlay.upper.check import check, repair
from lamina.overlay.upper.flatten import plan_flatten
from lamina.overlay.upper.merge import merge
from lamina.overlay.upper.steps import carry_out
from lamina.overlay.upper.stopped import Stopped
from lamina.overlay.upper.vacuum import plan_vacuum

Plant = Callable[["Tree"], None]


class Tree:
    """A layer, and an upper over it that our union wrote: with a whiteout, a copied-up file and a renamed directory."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.base, self.upper, self.work = top / "base", top / "upper", top / "work"
        for path in (self.base / "d/sub", self.base / "e", self.base / "f", self.upper, self.work):
            path.mkdir(parents=True)
        for name in ("d/x", "d/sub/y", "e/z", "f/gone", "one"):
            (self.base / name).write_text(name)
        with self.union() as union:
            union.unlink("f/gone")
            union.write_text("one", "changed")
            union.rename("d", "moved")
            union.mkdir("new")
            union.write_text("new/file", "new")
        with self.stopped() as room:
            self.space = room.space

    def overlay(self) -> Overlay:
        return Overlay([str(self.base)], upper=str(self.upper), work=str(self.work))

    def stopped(self, *, merging: bool = False) -> Stopped:
        return Stopped(self.overlay(), merging=merging)

    def union(self) -> Union:
        return Union([self.base], upper=self.upper, work=self.work, sync=False)

    def mark(self, name: str, mark: str, value: bytes) -> None:
        os.setxattr(self.upper / name, f"{self.space}{mark}", value, follow_symlinks=False)

    def kinds(self) -> list[tuple[str, str]]:
        with self.stopped() as room:
            return [(finding.kind, os.fsdecode(finding.path)) for finding in check(room)]


@pytest.fixture
def tree(scratch: Path) -> Tree:
    return Tree(scratch)


def test_what_the_union_wrote_is_healthy(tree: Tree) -> None:
    assert tree.kinds() == []


def whiteout(tree: Tree) -> None:
    os.mknod(tree.upper / "nothing", stat.S_IFCHR)


def whiteout_in_opaque(tree: Tree) -> None:
    os.mknod(tree.upper / "new/x", stat.S_IFCHR)


def nowhere(tree: Tree) -> None:
    tree.mark("moved", "redirect", b"/absent")


def to_a_file(tree: Tree) -> None:
    tree.mark("moved", "redirect", b"/one")


def upwards(tree: Tree) -> None:
    tree.mark("moved", "redirect", b"/../../etc")


def relative(tree: Tree) -> None:
    tree.mark("moved", "redirect", b"a/b")


def strange_opaque(tree: Tree) -> None:
    tree.mark("new", "opaque", b"maybe")


def both(tree: Tree) -> None:
    tree.mark("moved", "opaque", b"y")


def opaque_file(tree: Tree) -> None:
    tree.mark("one", "opaque", b"y")


def metacopy_directory(tree: Tree) -> None:
    tree.mark("new", "metacopy", b"")


def unread_whiteout(tree: Tree) -> None:
    (tree.upper / "f/other").touch()
    tree.mark("f/other", "whiteout", b"y")


def full_whiteout(tree: Tree) -> None:
    tree.mark("one", "whiteout", b"y")


def tar_whiteout(tree: Tree) -> None:
    (tree.upper / ".wh.e").touch()


def tar_opaque(tree: Tree) -> None:
    (tree.upper / "f/.wh..wh..opq").touch()


def fuse_opaque(tree: Tree) -> None:
    os.setxattr(tree.upper / "new", "user.fuseoverlayfs.opaque", b"y")


def shown_twice(tree: Tree) -> None:
    (tree.upper / "d").unlink()


def temporary(tree: Tree) -> None:
    (tree.work / "work/#1/inside").mkdir(parents=True)


def index(tree: Tree) -> None:
    (tree.work / "index/00fb").touch()
    os.setxattr(tree.work / "index/00fb", f"{tree.space}nlink", b"U-1")


def volatile(tree: Tree) -> None:
    (tree.work / "work/incompat/volatile").mkdir(parents=True)


def metacopy(tree: Tree) -> None:
    tree.mark("one", "metacopy", b"")
    os.removexattr(tree.upper, f"{tree.space}impure")


def unknown_name(tree: Tree) -> None:
    tree.mark("one", "tomorrow", b"1")


def unknown_on_a_directory(tree: Tree) -> None:
    tree.mark("new", "tomorrow", b"1")


def strange_impure(tree: Tree) -> None:
    tree.mark("new", "impure", b"maybe")


def impure_file(tree: Tree) -> None:
    tree.mark("one", "impure", b"y")


def redirected_file(tree: Tree) -> None:
    tree.mark("one", "redirect", b"/../one")


def redirected_top(tree: Tree) -> None:
    tree.mark("", "redirect", b"/d")


PLANTED: list[tuple[Plant, list[tuple[str, str]]]] = [
    (whiteout, [("whiteout", "nothing")]),
    (whiteout_in_opaque, [("whiteout", "new/x")]),
    (nowhere, [("redirect", "moved")]),
    (to_a_file, [("redirect", "moved")]),
    (upwards, [("redirect", "moved")]),
    (relative, [("redirect", "moved")]),
    (strange_opaque, [("value", "new")]),
    (both, [("contradiction", "moved")]),
    (opaque_file, [("misplaced", "one")]),
    (metacopy_directory, [("misplaced", "new")]),
    (unread_whiteout, [("whiteout", "f/other")]),
    (full_whiteout, [("misplaced", "one")]),
    (tar_whiteout, [("spelling", "e")]),
    (tar_opaque, [("spelling", "f"), ("whiteout", "f/gone")]),
    (fuse_opaque, [("spelling", "new")]),
    (shown_twice, [("twice", "moved")]),
    (temporary, [("orphan", "work/#1")]),
    (index, [("index", "index/00fb")]),
    (volatile, [("unmountable", "work/incompat/volatile")]),
    (metacopy, [("impure", "one")]),
    (unknown_name, [("value", "one")]),
    (unknown_on_a_directory, [("value", "new")]),
    (strange_impure, [("value", "new")]),
    (impure_file, [("value", "one")]),
    (redirected_file, [("redirect", "one")]),
    (redirected_top, [("misplaced", "")]),
]


@pytest.mark.parametrize(("plant", "found"), PLANTED, ids=lambda value: getattr(value, "__name__", ""))
def test_planted_defects(tree: Tree, plant: Plant, found: list[tuple[str, str]]) -> None:
    plant(tree)
    assert tree.kinds() == found
    with tree.stopped() as room:
        mended, left = repair(room)
        assert (len(mended) >= len(found), left) == (True, [])
    assert tree.kinds() == []
    with tree.union() as union:
        union.listdir()


def strange_metacopy(tree: Tree) -> None:
    tree.mark("one", "metacopy", b"\1\4\0\0")


STRANGE: list[Plant] = [
    upwards, relative, strange_opaque, metacopy_directory, opaque_file, unknown_name, unknown_on_a_directory,
    strange_impure, impure_file, redirected_file, redirected_top, strange_metacopy,
]  # fmt: skip


@pytest.mark.parametrize("plant", STRANGE)
def test_what_overlayfs_never_writes_is_not_mounted(tree: Tree, plant: Plant) -> None:
    plant(tree)
    with pytest.raises(InvalidInput, match="which no version of overlayfs writes there"):
        tree.union()
    assert (tree.upper / "moved").is_dir()


def lost_metacopy(tree: Tree) -> None:
    (tree.upper / "stub").touch()
    tree.mark("stub", "metacopy", b"")


def same_twice(tree: Tree) -> None:
    (tree.upper / "again").mkdir()
    tree.mark("again", "redirect", b"/d")


def unknown_feature(tree: Tree) -> None:
    (tree.work / "work/incompat/tomorrow").mkdir(parents=True)


@pytest.mark.parametrize(
    ("plant", "found"),
    [
        (strange_metacopy, ("value", "one")),
        (lost_metacopy, ("metacopy", "stub")),
        (same_twice, ("twice", "moved")),
        (unknown_feature, ("unmountable", "work/incompat/tomorrow")),
    ],
)
def test_what_cannot_be_mended_stays_and_is_told(tree: Tree, plant: Plant, found: tuple[str, str]) -> None:
    plant(tree)
    with tree.stopped() as room:
        mended, left = repair(room)
    assert (mended, [(finding.kind, os.fsdecode(finding.path)) for finding in left]) == ([], [found])


def test_a_mended_mark_means_what_it_meant(tree: Tree) -> None:
    (tree.upper / "f/gone").unlink()
    (tree.upper / "f/.wh.gone").touch()
    (tree.upper / "e").mkdir()
    (tree.upper / "e/.wh..wh..opq").touch()
    with tree.union() as union:
        before = [union.listdir("f"), union.listdir("e")]
    with tree.stopped() as room:
        repair(room)
    assert before == [[], []]
    assert stat.S_ISCHR((tree.upper / "f/gone").lstat().st_mode)
    assert os.getxattr(tree.upper / "e", f"{tree.space}opaque") == b"y"
    assert not (tree.upper / "f/.wh.gone").exists() and not (tree.upper / "e/.wh..wh..opq").exists()


def test_vacuum_drops_what_is_the_same(tree: Tree) -> None:
    with tree.union() as union:
        union.chmod("e/z", 0o600)
        union.chmod("e/z", stat.S_IMODE((tree.base / "e/z").stat().st_mode))
    whiteout(tree)
    with tree.stopped() as room:
        plan = plan_vacuum(room)
        assert [step.describe().partition(":")[0] for step in plan] == ["remove e/z", "remove e", "remove nothing"]
        carry_out(plan, room)
        assert plan_vacuum(room) == []
    assert not (tree.upper / "e").exists()


def test_flatten_makes_independent(tree: Tree) -> None:
    with tree.stopped() as room:
        plan = plan_flatten(room)
        assert [step.describe() for step in plan] == [
            "copy 3 entries, 10 bytes, into moved, which was d",
            f"remove {tree.space}redirects from .: nothing in it is redirected any more",
        ]
        assert not (tree.upper / "moved/x").exists()
        carry_out(plan, room)
    assert (tree.upper / "moved/sub/y").read_text() == "d/sub/y"
    assert f"{tree.space}redirect" not in os.listxattr(tree.upper / "moved")


def test_merge_changes_the_layer_and_empties_the_upper(tree: Tree) -> None:
    with tree.stopped(merging=True) as room:
        merge(room)
    assert os.listdir(tree.upper) == []
    assert sorted(path.relative_to(tree.base).as_posix() for path in tree.base.rglob("*")) == [
        "e", "e/z", "f", "moved", "moved/sub", "moved/sub/y", "moved/x", "new", "new/file", "one",
    ]  # fmt: skip
    assert (tree.base / "one").read_text() == "changed"


def test_a_layer_cannot_lead_a_merge_out_of_itself(tree: Tree) -> None:
    outside = tree.top / "outside"
    outside.mkdir()
    (outside / "file").write_text("untouched")
    (tree.base / "new").symlink_to(outside)
    with tree.stopped(merging=True) as room:
        merge(room)
    assert [path.name for path in outside.iterdir()] == ["file"]
    assert (tree.base / "new/file").read_text() == "new"


def test_an_upper_in_use_is_refused(tree: Tree) -> None:
    with tree.union(), pytest.raises(Conflict, match="in use"):
        tree.stopped()
    with tree.stopped(), pytest.raises(Conflict, match="in use"):
        tree.union()


def test_without_an_upper_there_is_nothing_to_do(tree: Tree) -> None:
    with pytest.raises(InvalidInput):
        Stopped(Overlay([str(tree.base)]))


def test_flatten_refuses_what_leads_nowhere(tree: Tree) -> None:
    nowhere(tree)
    with tree.stopped() as room, pytest.raises(InvalidInput, match="moved"):
        plan_flatten(room)
