"""Bootstraps that fail or are interrupted: the program says why, and nothing is left."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import lamina

pytestmark = pytest.mark.requires("mmdebstrap", "archive", "userns")


@pytest.fixture
def store(store_path: Path) -> Iterator[lamina.Store]:
    with lamina.Store(store_path) as opened:
        yield opened
    for directory in ("staging", "layers", "images", "refs"):
        assert os.listdir(store_path / directory) == []
    assert [name for name in os.listdir(tempfile.gettempdir()) if name.startswith(("lamina-", "mmdebstrap"))] == []


def test_a_package_that_does_not_exist_is_named(store: lamina.Store) -> None:
    with pytest.raises(lamina.LaminaError, match=r"cannot bootstrap bookworm: .*no-such-package"):
        store.bootstrap("bookworm", "base:1", include=["no-such-package"])


def test_an_interrupted_bootstrap_leaves_nothing(store: lamina.Store) -> None:
    def interrupt(event: lamina.Event) -> None:
        if event.text.startswith("I: extracting"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.bootstrap("bookworm", "base:1", on_event=interrupt)
