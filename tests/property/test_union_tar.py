"""An archive that is a layer as it is shows what the directory shows that applying it makes."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from hypothesis import example, given, note, settings
from hypothesis import strategies as st

from lamina.errors import InvalidInput
from lamina.overlay.union.union import Union
from lamina.tar import entry as kinds
from tests.helpers import layers
from tests.helpers.archives import archive, directory, hardlink, item, symlink
from tests.helpers.shown import shown

_SINGLE = os.geteuid() != 0

_BASE = [
    directory(b"./", mode=0o751, mtime=10**9), directory(b"a/", mode=0o711, mtime=5), item(b"a/b", content=b"old"),
    directory(b"a/c/", mode=0o700), item(b"a/c/b", content=b"deep"), symlink(b"c", b"a"), item(b"b", content=b"b"),
    directory(b"d/"), symlink(b"d/a", b"/a/c"), item(b"d/b", content=b"x", mtime=7),
]  # fmt: skip

_NAMES = st.lists(st.sampled_from([b"a", b"b", b"c", b"d"]), min_size=1, max_size=3).map(b"/".join)
_MARKS = st.sampled_from([b".wh.a", b".wh.b", b".wh.c", b".wh.d", b".wh..wh..opq", b".wh..wh.plnk"])
_FIELDS = {
    "mode": st.sampled_from([0o644, 0o600, 0o755, 0o1777]),
    "uid": st.sampled_from([0, 1]),
    "mtime": st.integers(0, 10**18),
    "xattrs": st.sampled_from([{}, {b"user.a": b"1"}, {b"security.selinux": b"label"}, {b"trusted.overlay.x": b"y"}]),
}
_FILES = st.builds(
    lambda name, content, fields: item(name, content=content, **fields),
    _NAMES, st.binary(max_size=1500), st.fixed_dictionaries({}, optional=_FIELDS),
)  # fmt: skip
_OTHERS = st.one_of(
    st.builds(
        lambda name, fields: directory(name + b"/", **fields), _NAMES, st.fixed_dictionaries({}, optional=_FIELDS)
    ),
    st.builds(symlink, _NAMES, st.sampled_from([b"a", b"/d", b"../c", b"nowhere", b"b"])),
    st.builds(hardlink, _NAMES, _NAMES),
    st.builds(lambda name: item(name, kinds.FIFO), _NAMES),
    st.builds(lambda name: item(name, kinds.CHARDEV), _NAMES),
    st.just(directory(b"./", mode=0o700, mtime=3 * 10**9)),
)
_WHITEOUTS = st.builds(
    lambda head, mark: item(head + mark), st.one_of(st.just(b""), _NAMES.map(lambda n: n + b"/")), _MARKS
)
_LAYERS = st.lists(st.one_of(_FILES, _OTHERS, _WHITEOUTS), max_size=8)


@settings(max_examples=150, deadline=None)
@given(first=_LAYERS, second=_LAYERS)
@example(first=[item(b"a"), hardlink(b"d/b/a", b"b")], second=[])
@example(first=[], second=[hardlink(b"a/a", b"b"), item(b"a")])
@example(first=[], second=[directory(b"a/"), item(b".wh.d"), item(b"d/a", kinds.CHARDEV)])
@example(first=[], second=[directory(b"a/"), item(b".wh..wh..opq"), item(b"d/.wh.a")])
@example(first=[directory(b"a/"), symlink(b"b", b"a")], second=[item(b".wh.b"), item(b"b/.wh.a")])
def test_an_archive_shows_what_applying_it_makes(first: list[bytes], second: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        top = Path(folder)
        below = [layers.apply(archive(top / "base.tar", *_BASE), top / "base", single_id=_SINGLE)]
        stack: list[str | Path] = [below[0].tree]
        for name, items in (("first", first), ("second", second)):
            path = archive(top / f"{name}.tar", *items)
            stack.append(path)
            try:
                below.append(layers.apply(path, top / name, below, single_id=_SINGLE))
            except InvalidInput as error:
                note(str(error))
                try:
                    Union(stack).close()
                except InvalidInput:
                    return
                raise
        with Union([layer.tree for layer in below]) as wanted, Union(stack) as union:
            assert shown(union, owners=not _SINGLE) == shown(wanted, owners=not _SINGLE)
            assert _origins(union) == _origins(wanted)


def _origins(union: Union) -> dict[bytes, int]:
    found: dict[bytes, int] = {}
    for path, _, _ in union.walk(b""):
        found |= {path + b"/" + name: index for name, index in union.origins(path).items()}
    return found
