"""The tools for an upper after random histories of either driver: the kernel shows the same before and after."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lamina.overlay.stack import Overlay
from lamina.overlay.union.union import Union
from lamina.overlay.upper.check import check
from lamina.overlay.upper.flatten import plan_flatten
from lamina.overlay.upper.merge import merge, plan_merge
from lamina.overlay.upper.steps import carry_out
from lamina.overlay.upper.stopped import Stopped
from lamina.overlay.upper.vacuum import plan_vacuum
from tests.helpers.histories import Operation, histories, play
from tests.helpers.union_machine import layer_lists
from tests.helpers.unions import InProcess, Item, Mounted, inodes, make_layer, mount_kernel, snapshot, unmount

pytestmark = pytest.mark.requires("root", "overlay")

FOLLOWING = ("redirect_dir=on", "index=on", "metacopy=on", "xino=off")
PLAIN = ("redirect_dir=nofollow", "index=on", "metacopy=off", "xino=off")

settled = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
drivers = st.sampled_from(["kernel", "kernel", "metacopy", "union", "union", "copying"])


class Place:
    """Layers, an upper and a work directory, in a folder of their own."""

    def __init__(self, top: Path, layers: list[list[Item]]) -> None:
        self.top = top
        self.layers = [top / f"layer{n}" for n in range(len(layers))]
        for path, items in zip(self.layers, layers, strict=True):
            make_layer(path, items)
        for name in ("upper", "work", "merged"):
            (top / name).mkdir()

    def overlay(self) -> Overlay:
        return Overlay([str(path) for path in self.layers], upper=str(self.top / "upper"), work=str(self.top / "work"))

    @contextmanager
    def mounted(self, *options: str) -> Iterator[Mounted]:
        mount_kernel(self.layers, self.top / "upper", self.top / "work", self.top / "merged", *options)
        try:
            yield Mounted(self.top / "merged")
        finally:
            unmount(self.top / "merged")

    def play(self, driver: str, history: list[Operation]) -> None:
        """Let the history happen through one driver."""
        if driver in ("kernel", "metacopy"):
            options = FOLLOWING if driver == "metacopy" else ("redirect_dir=on", "index=on", "metacopy=off")
            with self.mounted(*options) as actor:
                play(actor, history)
        else:
            upper, work = self.top / "upper", self.top / "work"
            renames = "copy" if driver == "copying" else "redirect"
            with Union(self.layers, upper=upper, work=work, sync=False, renames=renames) as union:  # type: ignore[arg-type]  # one of both
                play(InProcess(union), history)


def seen(actor: Mounted) -> tuple[object, object]:
    """Return what the tree shows without link counts, and which names are one file.

    A layer's file counts also those of its names that an upper hides, until a merge removes them.
    """
    names: dict[int, set[str]] = {}
    for path, number in inodes(actor).items():
        names.setdefault(number, set()).add(path)
    groups = {frozenset(group) for group in names.values()}
    return {path: (*found[:3], *found[4:]) for path, found in snapshot(actor).items()}, groups


@contextmanager
def place(scratch: Path, layers: list[list[Item]]) -> Iterator[Place]:
    top = Path(tempfile.mkdtemp(dir=scratch))
    previous = os.umask(0o022)
    try:
        yield Place(top, layers)
    finally:
        os.umask(previous)
        shutil.rmtree(top)


@settled
@given(layers=layer_lists, driver=drivers, history=histories)
def test_healthy_uppers_have_no_findings(
    scratch: Path, layers: list[list[Item]], driver: str, history: list[Operation]
) -> None:
    with place(scratch, layers) as here:
        here.play(driver, history)
        with Stopped(here.overlay()) as room:
            assert [finding.describe() for finding in check(room)] == []


@settled
@given(layers=layer_lists, driver=drivers, history=histories)
def test_vacuum_keeps_what_is_shown(
    scratch: Path, layers: list[list[Item]], driver: str, history: list[Operation]
) -> None:
    with place(scratch, layers) as here:
        here.play(driver, history)
        with here.mounted(*FOLLOWING) as kernel:
            before = snapshot(kernel)
        with Stopped(here.overlay()) as room:
            carry_out(plan_vacuum(room), room)
            assert plan_vacuum(room) == []
        with here.mounted(*FOLLOWING) as kernel:
            assert snapshot(kernel) == before


@settled
@given(layers=layer_lists, driver=drivers, history=histories)
def test_a_flattened_upper_needs_no_redirects(
    scratch: Path, layers: list[list[Item]], driver: str, history: list[Operation]
) -> None:
    with place(scratch, layers) as here:
        here.play(driver, history)
        with here.mounted(*FOLLOWING) as kernel:
            before = snapshot(kernel)
        with Stopped(here.overlay()) as room:
            carry_out(plan_flatten(room), room)
            assert plan_flatten(room) == []
            assert check(room) == []
        with here.mounted(*PLAIN) as kernel:
            assert snapshot(kernel) == before


@settled
@given(layers=layer_lists, driver=drivers, history=histories)
def test_a_merged_upper_is_empty(
    scratch: Path, layers: list[list[Item]], driver: str, history: list[Operation]
) -> None:
    with place(scratch, layers) as here:
        here.play(driver, history)
        with here.mounted(*FOLLOWING) as kernel:
            before = seen(kernel)
        with Stopped(here.overlay(), merging=True) as room:
            said = [step.describe() for step in plan_merge(room)]
            assert said == [step.describe() for step in plan_merge(room)]
            merge(room)
            assert [step.describe() for step in plan_merge(room)] == ["give . its mode, owner, attributes and times"]
        assert os.listdir(here.top / "upper") == []
        with here.mounted(*PLAIN) as kernel:
            assert seen(kernel) == before
        with Stopped(here.overlay()) as room:
            assert check(room) == []
