"""Offsets of a directory's readers carry their place and their end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamina.overlay.fuse import offsets


@given(st.data())
def test_what_is_put_in_comes_out(data: st.DataObject) -> None:
    end = data.draw(st.integers(1, 2**31 - 1))
    place = data.draw(st.integers(1, end))
    assert offsets.split(place + offsets.base(end)) == (place, end)
    assert place + offsets.base(end) < 2**62


def test_a_reading_begins_without_an_end() -> None:
    assert offsets.split(0) == (0, 0)


@pytest.mark.parametrize("end", [2, 100, 2**15 - 1])
def test_offsets_of_short_listings_are_small(end: int) -> None:
    assert end + offsets.base(end) < 2**31
