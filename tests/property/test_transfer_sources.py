"""Apt's sources: any text is read."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lamina.transfer.sources import parse_deb822, parse_list


@given(st.text(max_size=60) | st.text("deb [=]\n:# Ttypes", max_size=60))
def test_any_text_is_read(text: str) -> None:
    for source in [*parse_list(text), *parse_deb822(text)]:
        assert source.uri is not None and source.suite
