"""What goes into a layer comes out of it: types, modes, owners, times, xattrs, links, holes and names."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings

from tests.helpers import layers
from tests.helpers.trees import remove_tree

pytestmark = pytest.mark.requires("mounts")


@settings(max_examples=60, database=None)
@given(top=layers.trees())
def test_apply_of_capture_is_the_same(top: layers.Node) -> None:
    scratch = Path(tempfile.mkdtemp())
    try:
        source = scratch / "source"
        layers.make_tree(source, top)
        seen = layers.look(source)
        base = layers.apply_directory(source, scratch / "base")
        assert layers.look(source) == seen
        assert layers.look(base.tree) == seen
        again = layers.apply(layers.assemble(base, scratch / "tar"), scratch / "again")
        assert layers.look(again.tree) == seen
        assert again.said == base.said
        captured = layers.capture([("", base.tree)], scratch / "captured", [])
        assert captured.said == base.said
    finally:
        remove_tree(str(scratch))
