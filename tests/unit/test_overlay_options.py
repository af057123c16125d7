"""The option text of an overlay, written and read."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lamina.errors import InvalidInput, UsageError
from lamina.overlay.stack import Overlay, parse_options

NAMES = st.text(alphabet=st.sampled_from("ab:,\\= \n\té"), min_size=1, max_size=12)


@given(st.lists(NAMES, min_size=1, max_size=5, unique=True), NAMES, NAMES, st.booleans())
@example(["a\\", "\\:"], "\\\\", ",", True)
def test_what_is_written_is_read_again(layers: list[str], upper: str, work: str, userxattr: bool) -> None:
    overlay = Overlay(layers, upper=upper, work=work, userxattr=userxattr, options=[("index", "off"), ("volatile", "")])
    assert parse_options(overlay.option_text()).plain() == overlay.plain()
    assert Overlay(**overlay.plain()).plain() == overlay.plain()  # type: ignore[arg-type]  # plain data


@given(st.text(alphabet=st.sampled_from("lowerdir=upperdir=workdir=,:\\ab")))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        overlay = parse_options(text)
    except UsageError:
        return
    assert overlay.layers and "" not in overlay.layers


def test_the_leftmost_is_on_top() -> None:
    assert parse_options("lowerdir=top:base").layers == ("base", "top")
    assert Overlay(["base", "top"]).option_text() == "lowerdir=top:base"


def test_a_layer_that_stands_twice_counts_once() -> None:
    assert Overlay(["a", "b", "a", "c", "c"]).layers == ("b", "a", "c"), "the upper one hides the lower"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("upperdir=u,workdir=w", "lowerdir= is missing"),
        ("lowerdir=a,lowerdir=b", "lowerdir stands twice"),
        ("lowerdir=a::b", "lowerdir has an empty name"),
        ("lowerdir=", "lowerdir has no directory"),
        ("lowerdir", "lowerdir has no directory"),
        ("lowerdir=a,upperdir=", "upperdir has no directory"),
        ("", "lowerdir= is missing"),
    ],
)
def test_malformed_text(text: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        parse_options(text)


def test_directories_are_checked_by_name(tmp_path: Path) -> None:
    for name in ("lower", "upper", "work"):
        (tmp_path / name).mkdir()
    (tmp_path / "file").touch()

    def check(layers: list[str], upper: str = "", work: str = "") -> None:
        found = [f"{tmp_path}/{name}" if name else "" for name in (*layers, upper, work)]
        Overlay(found[:-2], upper=found[-2], work=found[-1]).check()

    check(["lower"])
    check(["lower"], "upper", "work")
    with pytest.raises(InvalidInput, match="no lower directory is named"):
        check([])
    with pytest.raises(InvalidInput, match=r"lower directory .*/none: no such directory"):
        check(["lower", "none"])
    with pytest.raises(InvalidInput, match=r"upper directory .*/file: it is not a directory"):
        check(["lower"], "file", "work")
    with pytest.raises(InvalidInput, match="no work directory to it"):
        check(["lower"], "upper")
    with pytest.raises(InvalidInput, match="no upper directory to it"):
        check(["lower"], "", "work")


def test_work_on_another_file_system(tmp_path: Path) -> None:
    (tmp_path / "upper").mkdir()
    with pytest.raises(InvalidInput, match="it is not on the file system of"):
        Overlay([str(tmp_path)], upper=f"{tmp_path}/upper", work="/proc/self/fd").check()
