"""The tools for an upper after random histories of either driver: the kernel shows the same before and after."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lamina.overlay.upper.check import check
from lamina.overlay.upper.flatten import plan_flatten
from lamina.overlay.upper.merge import merge, plan_merge
from lamina.overlay.upper.steps import carry_out
from lamina.overlay.upper.stopped import Stopped
from lamina.overlay.upper.vacuum import plan_vacuum
from tests.helpers.histories import Operation, histories
from tests.helpers.union_machine import layer_lists
from tests.helpers.unions import Item, snapshot
from tests.helpers.uppers import FOLLOWING, PLAIN, place, seen

pytestmark = pytest.mark.requires("root", "overlay")

settled = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
drivers = st.sampled_from(["kernel", "kernel", "metacopy", "union", "union", "copying"])


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


@settled
@given(layers=layer_lists, history=histories)
def test_copied_renames_can_be_shown_by_any_mount(
    scratch: Path, layers: list[list[Item]], history: list[Operation]
) -> None:
    with place(scratch, layers) as here:
        here.play("copying", history)
        with here.mounted(*FOLLOWING) as kernel:
            before = snapshot(kernel)
        with Stopped(here.overlay()) as room:
            assert plan_flatten(room) == []
        with here.mounted(*PLAIN) as kernel:
            assert snapshot(kernel) == before
