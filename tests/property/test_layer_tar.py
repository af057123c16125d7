"""Tar on bytes: what is written is read back, and no input makes the parsers raise anything but their own error."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from lamina.errors import InvalidInput, StoreError
from lamina.layer import owners
from lamina.tar import entry as kinds
from lamina.tar import header as tarheader
from lamina.tar import pax
from lamina.tar import write as tarwrite
from lamina.tar.entry import Entry
from lamina.tar.header import BadHeader, padding
from lamina.tar.read import TarReader
from tests.helpers.archives import Pieces, mended

_TEXT = st.binary(min_size=1, max_size=300).filter(lambda text: b"\0" not in text and not text.endswith(b"/"))
_PATHS = st.lists(
    st.binary(min_size=1, max_size=120).map(lambda n: n.replace(b"\0", b"a").replace(b"/", b"b")), min_size=1
)


@st.composite
def _entries(draw: st.DrawFn) -> Entry:
    kind = draw(
        st.sampled_from([kinds.FILE, kinds.SYMLINK, kinds.HARDLINK, kinds.CHARDEV, kinds.DIRECTORY, kinds.FIFO])
    )
    entry = Entry(b"/".join(draw(_PATHS)), kind)
    entry.mode = draw(st.integers(0, 0o7777))
    entry.uid, entry.gid = draw(st.tuples(st.integers(0, 2**32 - 2), st.integers(0, 2**32 - 2)))
    entry.mtime = draw(st.integers(-(2**62), 2**62))
    if kind in (kinds.SYMLINK, kinds.HARDLINK):
        entry.link = draw(_TEXT)
    elif kind == kinds.CHARDEV:
        entry.major, entry.minor = draw(st.tuples(st.integers(0, 4095), st.integers(0, 2**20 - 1)))
    entry.xattrs = draw(st.dictionaries(_TEXT, st.binary(max_size=100), max_size=3))
    return entry


def _fields(entry: Entry) -> dict[str, object]:
    return {name: getattr(entry, name) for name in Entry.__slots__ if name != "number"}


@settings(max_examples=50)
@given(
    entries=st.lists(st.tuples(_entries(), st.binary(max_size=2000)), max_size=3),
    size=st.sampled_from([100, 512, 5000, 1 << 20]),
)
def test_what_is_written_is_read(entries: list[tuple[Entry, bytes]], size: int) -> None:
    data = b""
    for entry, content in entries:
        if entry.kind == kinds.FILE:
            entry.size = len(content)
        data += tarwrite.header(entry) + content[: entry.size] + bytes(padding(entry.size))
    literal = bytearray()
    reader = TarReader(Pieces(data + tarwrite.END, size), literal)
    again = []
    for found in reader:
        content = b""
        while left := reader.pending():
            content += reader.read(left)
        again.append((_fields(found), content))
    for _ in reader.drain():
        pass
    assert again == [(_fields(entry), content[: entry.size]) for entry, content in entries]
    assert len(literal) + sum(entry.size for entry, _ in entries) == len(data) + len(tarwrite.END)


@given(data=st.binary(max_size=3000), size=st.sampled_from([100, 1 << 20]))
def test_any_bytes(data: bytes, size: int) -> None:
    _read_all(data, size)


@given(entry=_entries(), places=st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=4))
def test_damaged_archives(entry: Entry, places: list[tuple[int, int]]) -> None:
    data = bytearray(tarwrite.header(entry) * 2 + tarwrite.END)
    for place, value in places:
        data[place % len(data)] = value
    _read_all(mended(bytes(data)), 1 << 20)


def _read_all(data: bytes, size: int) -> None:
    literal = bytearray()
    reader = TarReader(Pieces(data, size), literal)
    try:
        for _ in reader:
            reader.skip()
    except InvalidInput:
        return
    for _ in reader.drain():
        pass
    assert literal == data


@given(
    records=st.dictionaries(
        _TEXT.filter(lambda key: b"=" not in key and b"sparse" not in key), st.binary(max_size=1200)
    )
)
def test_pax_records(records: dict[bytes, bytes]) -> None:
    assert pax.parse(pax.make(records)) == records


@given(data=st.one_of(st.binary(), st.from_regex(rb"\A([0-9]{1,2} [a-c]=[a-z\n]*\n)*\Z")))
def test_pax_of_any_bytes(data: bytes) -> None:
    try:
        pax.parse(data)
    except BadHeader:
        pass


@given(nanoseconds=st.integers(-(2**80), 2**80))
def test_times(nanoseconds: int) -> None:
    assert pax.time(pax.make_time(nanoseconds)) == nanoseconds


@given(name=_TEXT)
def test_xattr_names(name: bytes) -> None:
    key = pax.xattr_key(name)
    assert b"=" not in key
    assert pax.xattr_name(key) == name


@given(field=st.binary(min_size=8, max_size=12))
def test_numbers_of_any_bytes(field: bytes) -> None:
    try:
        tarheader.number(field)
    except BadHeader:
        pass


@given(value=st.integers(-(2**62), 2**62))
def test_base_256(value: int) -> None:
    field = (value + (2**95 if value >= 0 else 2**96)).to_bytes(12, "big")
    assert tarheader.number(field) == value


_OWNERS = st.builds(
    owners.Owner,
    uid=st.integers(0, 2**32 - 2),
    gid=st.integers(0, 2**32 - 2),
    mode=st.one_of(st.none(), st.integers(0, 0o7777)),
    device=st.one_of(st.none(), st.tuples(st.sampled_from([b"3", b"4"]), st.integers(0, 4095), st.integers(0, 2**20))),
    xattrs=st.dictionaries(_TEXT, st.binary(max_size=50), max_size=2),
)


@given(table=st.dictionaries(_TEXT, _OWNERS))
def test_owners(table: owners.Owners) -> None:
    assert owners.parse(owners.dump(table), "table") == table


@given(data=st.binary(max_size=200))
def test_owners_of_any_bytes(data: bytes) -> None:
    for text in (data, b"lamina owners 1\n" + data):
        try:
            owners.parse(text, "table")
        except StoreError:
            pass


@given(data=st.binary(max_size=200))
def test_framing_of_any_bytes(data: bytes) -> None:
    from lamina.layer.framing import FramingReader

    for text in (data, b"lamina framing 1\n" + data):
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch, "framing")
            path.write_bytes(text)
            with path.open("rb") as file:
                try:
                    for _ in FramingReader(file, "framing").records():
                        pass
                except StoreError:
                    pass
