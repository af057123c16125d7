"""A tree deeper than Python's stack: the calls of a union that take whole trees."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from lamina.overlay.union.change import Change
from lamina.overlay.union.union import Union
from tests.helpers.deep import NAME, deep_stack
from tests.helpers.effort import effort


@pytest.fixture
def depth() -> int:
    return effort(short=1100, long=5000)


@pytest.fixture
def top(scratch: Path, depth: int) -> Iterator[Path]:
    with deep_stack(scratch, depth):
        yield scratch


def over(top: Path) -> Union:
    return Union([top / "layer/tree"], upper=top / "upper", work=top / "work", sync=False)


def test_calls_that_take_whole_trees(top: Path, depth: int) -> None:
    path = "/".join([NAME] * depth)
    assert len(path) > os.pathconf("/", "PC_PATH_MAX") and depth > 1000
    with over(top) as union:
        down = [walked for walked, _, _ in union.walk()]
        assert down == ["/" + "/".join([NAME] * at) for at in range(depth + 1)]
        assert [walked for walked, _, _ in union.walk(topdown=False)] == down[::-1]
        union.write_text(f"{path}/file", "changed")
        assert [change.path.count(b"/") for change in union.changes()] == list(range(depth + 1))
        other = "/".join(["made"] * depth)
        union.makedirs(other)
        union.makedirs(other, exist_ok=True)
        with pytest.raises(FileExistsError):
            union.makedirs(other)
        assert union.is_dir(other)
        union.rename(f"{NAME}/{NAME}", "made/renamed")
        assert union.read_text(f"made/renamed{path[2 * len(NAME) + 1 :]}/file") == "changed"
        union.rmtree("made")
        assert list(union.changes()) == [Change("C", NAME.encode()), Change("D", f"{NAME}/{NAME}".encode())]
        union.rmtree(NAME)
        assert union.listdir() == []
