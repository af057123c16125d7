"""Text for people: widths, sizes, ages, tables."""

from __future__ import annotations

import pytest

from lamina.cli import text


def test_cells() -> None:
    assert text.cells("abc") == 3
    assert text.cells("日本") == 4
    assert text.cells("e\u0301") == 1


@pytest.mark.parametrize(
    ("given", "width", "expected"),
    [
        ("abc", 3, "abc"),
        ("abcd", 3, "ab…"),
        ("日本語", 5, "日本…"),
        ("日本語", 4, "日…"),
        ("abc", 0, ""),
        ("abc", 1, "…"),
    ],
)
def test_cut(given: str, width: int, expected: str) -> None:
    assert text.cut(given, width) == expected


@pytest.mark.parametrize(
    ("given", "width", "expected"),
    [("/a/b/c", 6, "/a/b/c"), ("/aaaa/bbbb", 7, "/aa…bbb"), ("/日本語/日本語", 8, "/日…本語"), ("abcdef", 2, "a…")],
)
def test_cut_middle(given: str, width: int, expected: str) -> None:
    assert text.cut_middle(given, width) == expected


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (0, "0B"), (999, "999B"), (1000, "1kB"), (1234, "1.23kB"), (12_345, "12.3kB"), (999_499, "999kB"),
        (999_500, "1MB"), (119_200_000, "119MB"), (5 * 10**12, "5TB"), (12 * 10**18, "12000PB"),
    ],
)  # fmt: skip
def test_size(count: int, expected: str) -> None:
    assert text.size(count) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(-5, "just now"), (59, "just now"), (60, "1 minute ago"), (7199, "1 hour ago"), (7200, "2 hours ago"),
     (86400 * 13, "1 week ago"), (86400 * 800, "2 years ago")],
)  # fmt: skip
def test_age(seconds: int, expected: str) -> None:
    assert text.age(seconds) == expected


def test_columns() -> None:
    assert text.columns(["NAME", "SIZE"], [["日本", "1B"], ["longer", ""]]) == [
        "NAME     SIZE",
        "日本     1B",
        "longer",
    ]


def test_wrap() -> None:
    assert text.wrap("one two three", 9, 2) == ["  one two", "  three"]
    assert text.wrap("", 9) == [""]
