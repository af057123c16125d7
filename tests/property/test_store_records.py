"""Records of the store: what is written reads back, and anything else is read or refused."""

from __future__ import annotations

import contextlib
import os

from hypothesis import given
from hypothesis import strategies as st

from lamina.errors import StoreError
from lamina.store.record import Record, encode_record

_value = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("\\nr\n\r: ")) | st.binary().map(
    os.fsdecode
)


@given(st.lists(st.tuples(st.sampled_from(["a", "b", "a-b"]), _value | st.integers().map(str))))
def test_records_read_back(fields: list[tuple[str, str]]) -> None:
    record = Record(encode_record(fields), "x")
    for name in ("a", "b", "a-b"):
        assert record.texts(name) == [value for key, value in fields if key == name]


@given(st.binary(max_size=40))
def test_records_are_read_or_refused(data: bytes) -> None:
    with contextlib.suppress(StoreError):
        record = Record(data, "x")
        record.text("a")
        record.number("a")
