"""The picture of a stack, line by line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamina.cli.picture import Box, Picture, Style, ansi, draw, gather, plain
from lamina.cli.text import cells

BASE = Box(
    "import rootfs.tar.gz",
    119_200_000,
    "/var/lib/lamina/layers/5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef",
    [("A", "/bin"), ("A", "/etc"), ("A", "/etc/issue"), ("A", "/etc/hosts"), ("A", "/usr"), ("A", "/usr/lib")],
)
CURL = Box(
    "apt-get install -y --no-install-recommends curl",
    1_230_000,
    "/var/lib/lamina/layers/0a1b",
    [("C", "/var/lib/dpkg/status"), ("D", "/etc/issue"), *(("A", f"/usr/bin/curl{n}") for n in range(6))],
)
UPPER = Box("sh -c 'echo hi >/new'", 3, "/var/lib/lamina/containers/box/upper", [("A", "/new")])

IMAGE = Picture("curl:1", ["2 layers, 120MB"], [BASE, CURL], None, "what a container of it sees")
CONTAINER = Picture("box", ["a container of base:1"], [BASE], UPPER, "nowhere while no command runs")


def test_an_image() -> None:
    assert draw(IMAGE, Style(64, True, plain, 3)) == [
        "curl:1",
        "2 layers, 120MB",
        "",
        "           ┌───────────────────────────────────────────────────┐",
        "    merged │ what a container of it sees                       │",
        "           └─────────────────────────▲─────────────────────────┘",
        "           ┌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌┴╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌┐",
        "     upper ┆ a container's own: empty until it writes          ┆",
        "           └╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌┘",
        "           ┌───────────────────────────────────────────────────┐",
        "   lower 2 │ apt-get install -y --no-install-recommen…  1.23MB │",
        "           │ 6 added · 1 changed · 1 hidden                    │",
        "           │   D /etc/issue                                    │",
        "           │   C /var/lib/dpkg/status                          │",
        "           │   A /usr/bin/curl0                                │",
        "           │   A /usr/bin/curl1                                │",
        "           │   A /usr/bin/curl2                                │",
        "           │     … 3 more                                      │",
        "           │ /var/lib/lamina/layers/0a1b                       │",
        "           ├───────────────────────────────────────────────────┤",
        "   lower 1 │ import rootfs.tar.gz                        119MB │",
        "    (base) │ 6 added                                           │",
        "           │   A /bin                                          │",
        "           │   A /etc/ (3 names)                               │",
        "           │   A /usr/ (2 names)                               │",
        "           │ /var/lib/lamina/layers/5…a41755b6cddfaf10ace3c6ef │",
        "           └───────────────────────────────────────────────────┘",
    ]


def test_a_container_in_ascii() -> None:
    assert draw(CONTAINER, Style(64, False, plain, 3)) == [
        "box",
        "a container of base:1",
        "",
        "           +---------------------------------------------------+",
        "    merged | nowhere while no command runs                     |",
        "           +-------------------------^-------------------------+",
        "           +-------------------------+-------------------------+",
        "     upper | sh -c 'echo hi >/new'                          3B |",
        "(writable) | 1 added                                           |",
        "           |   A /new                                          |",
        "           | /var/lib/lamina/containers/box/upper              |",
        "           +---------------------------------------------------+",
        "           +---------------------------------------------------+",
        "     lower | import rootfs.tar.gz                        119MB |",
        "    (base) | 6 added                                           |",
        "           |   A /bin                                          |",
        "           |   A /etc/ (3 names)                               |",
        "           |   A /usr/ (2 names)                               |",
        "           | /var/lib/lamina/layers/...41755b6cddfaf10ace3c6ef |",
        "           +---------------------------------------------------+",
    ]


def test_colours_change_nothing_else() -> None:
    painted = draw(IMAGE, Style(80, True, ansi, 3))
    bare = []
    for line in painted:
        for code in (0, 1, 2, 31, 32, 33, 36):
            line = line.replace(f"\x1b[{code}m", "")  # noqa: PLW2901  # the same line, less and less painted
        bare.append(line.rstrip())
    assert bare == draw(IMAGE, Style(80, True, plain, 3))


def test_everything_is_shown_without_a_limit() -> None:
    text = "\n".join(draw(IMAGE, Style(80, True, plain, None)))
    assert all(f"/usr/bin/curl{n}" in text for n in range(6)) and "more" not in text


def test_gather() -> None:
    assert gather(["/a/b", "/a", "/a-b", "/a/b/c", "/c"], whole=True) == [("/a", 3), ("/a-b", 1), ("/c", 1)]
    assert gather(["/b", "/a/b", "/a"], whole=False) == [("/a", 1), ("/a/b", 1), ("/b", 1)]


NAMES = st.text(st.characters(exclude_categories=["C", "Zl", "Zp"]), max_size=30)
BOXES = st.builds(
    Box, NAMES, st.integers(0, 10**20), NAMES, st.lists(st.tuples(st.sampled_from("ACD"), NAMES.map("/".__add__)))
)


@given(
    st.builds(
        Picture, NAMES, st.lists(NAMES, max_size=2), st.lists(BOXES, min_size=1, max_size=3), st.none() | BOXES, NAMES
    ),
    st.integers(0, 200),
    st.booleans(),
)
def test_boxes_are_boxes_whatever_is_in_them(picture: Picture, width: int, unicode: bool) -> None:
    lines = draw(picture, Style(width, unicode, plain, 3))
    boxes = lines[2 + len(picture.facts) :]
    assert len({cells(line) for line in boxes}) == 1
    assert all(cells(line) <= max(48, min(width, 100)) for line in lines)


@pytest.mark.parametrize("width", [0, 48, 100])
def test_the_narrowest_and_the_widest(width: int) -> None:
    assert {cells(line) for line in draw(CONTAINER, Style(width, True, plain, 3))[3:]} == {max(48, width)}
