"""A tree deeper than Python's stack: capture, and the tools for an upper."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from lamina.api.uppers import check_upper, flatten_upper, merge_upper, vacuum_upper
from lamina.overlay.union.union import Union
from tests.helpers import layers
from tests.helpers.deep import NAME, deep_stack
from tests.helpers.effort import effort

pytestmark = pytest.mark.requires("root")


@pytest.fixture
def depth() -> int:
    return effort(short=1100, long=5000)


@pytest.fixture
def top(scratch: Path, depth: int) -> Iterator[Path]:
    with deep_stack(scratch, depth):
        yield scratch


def over(top: Path) -> Union:
    return Union([top / "layer/tree"], upper=top / "upper", work=top / "work", sync=False)


def test_tools_for_an_upper(top: Path, depth: int) -> None:
    path = "/".join([NAME] * depth)
    with over(top) as union:
        union.write_text(f"{path}/file", "changed")
        union.rename(f"{NAME}/{NAME}", "moved")
    at, lowers = "moved" + path[2 * len(NAME) + 1 :], [top / "layer/tree"]
    upper, work = top / "upper", top / "work"
    captured = layers.capture([("", upper)], top / "captured", [layers.Layer(top / "layer", {})])
    with tarfile.open(layers.assemble(captured, top / "captured.tar")) as archive:
        files = [entry.name for entry in archive if entry.isfile()]
    assert sorted(files) == [f"{NAME}/.wh.{NAME}", f"{at}/file"]
    assert check_upper(lowers, upper=upper, work=work) == []
    assert vacuum_upper(lowers, upper=upper, work=work) == []
    assert flatten_upper(lowers, upper=upper, work=work)
    merge_upper(lowers, upper=upper, work=work)
    assert os.listdir(upper) == []
    with over(top) as union:
        assert union.read_text(f"{at}/file") == "changed"
