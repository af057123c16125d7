"""Cache keys: what they cover, and how a miss is explained."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lamina.build.keys import BELOW, Key, differences, identity, variables

PARTS = st.lists(st.tuples(st.text(), st.text()), max_size=5).map(tuple)


@given(PARTS, PARTS)
def test_keys_are_equal_only_for_equal_parts(
    one: tuple[tuple[str, str], ...], two: tuple[tuple[str, str], ...]
) -> None:
    assert (Key(one).text == Key(two).text) == (one == two)


def test_the_borders_of_parts_count() -> None:
    assert Key((("a", "bc"),)).text != Key((("ab", "c"),)).text
    assert Key((("a", "b"), ("c", "d"))).text != Key((("a", "b"),)).text
    assert identity("a", "b") != identity("ab")


def test_a_variable_is_not_shown() -> None:
    ((name, value),) = variables({"TOKEN": "s3cr3t"}, "build argument")
    assert name == "build argument TOKEN"
    assert "s3cr3t" not in value


def test_a_difference_names_the_part() -> None:
    before = Key(((BELOW, "1"), ("mode of a.sh", "0664"), ("contents of b", "x"), ("contents of old", "y")))
    after = Key(((BELOW, "2"), ("mode of a.sh", "0644"), ("contents of b", "z"), ("build argument V", "q")))
    assert differences(before.texts(), after.texts()) == [
        "mode of a.sh 0664 -> 0644",
        "contents of b changed",
        "build argument V is new",
        "contents of old is gone",
        "the step above changed",
    ]
    assert differences(before.texts(), before.texts()) == []


def test_a_name_with_an_equals_sign_is_one_name() -> None:
    before, after = (Key((("contents of a=b", value),)).texts() for value in "12")
    assert differences(before, after) == ["contents of a=b changed"]
