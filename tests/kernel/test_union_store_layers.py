"""Layers of a store are directories like any other: the union and `lamina mount` lay them over each other."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lamina import Store, Union
from tests.helpers.boxes import make_image
from tests.helpers.command import Lamina

pytestmark = pytest.mark.requires("userns", "overlay")

CHANGE = "echo new >/etc/made; rm /etc/group; rm -r /var; mkdir /var; echo in >/var/inside"


@pytest.fixture
def layers(lamina: Lamina, scratch: Path) -> list[str]:
    """Return the directories of an image whose topmost layer adds, deletes and replaces."""
    image = make_image(lamina, scratch)
    lamina("run", "--rm", "--commit", "changed:1", image, "sh", "-c", CHANGE)
    with Store(lamina.store) as store:
        return [layer.directory for layer in store.image("changed:1").layers]


def names_in(directory: str) -> list[tuple[str, int]]:
    """Return the names and change times of all that is in a layer."""
    return sorted(
        (os.path.join(folder, name), os.lstat(os.path.join(folder, name)).st_ctime_ns)
        for folder, folders, files in os.walk(directory)
        for name in (*folders, *files)
    )


def test_in_the_process(layers: list[str], scratch: Path) -> None:
    before = [names_in(layer) for layer in layers]
    (scratch / "upper").mkdir()
    with Union(layers, upper=scratch / "upper") as union:
        assert union.listdir("/etc") == ["made", "passwd"]
        assert union.read_text("/etc/made") == "new\n" and union.listdir("/var") == ["inside"]
        assert union.origin("/etc/made") == 1 and union.origin("/etc/passwd") == 0
        union.unlink("/etc/made")
        union.rename("/etc", "/moved")
        union.write_text("/etc", "a file now")
        assert union.listdir("/moved") == ["passwd"] and union.read_text("/etc") == "a file now"
    assert [names_in(layer) for layer in layers] == before


@pytest.mark.requires("fuse")
@pytest.mark.parametrize("driver", ["kernel", "fuse"])
def test_through_a_mount(lamina: Lamina, layers: list[str], scratch: Path, driver: str) -> None:
    before = [names_in(layer) for layer in layers]
    for name in ("upper", "work", "merged"):
        (scratch / name).mkdir()
    stack = [word for layer in layers for word in ("--layer", layer)]
    look = "cd merged && ls etc var && cat etc/made && rm etc/made && ls etc"
    done = lamina(
        "mount", "--driver", driver, *stack, "--upper", "upper", "--work", "work", "merged", "--", "sh", "-c", look
    )
    assert done.lines() == ["etc:", "made", "passwd", "", "var:", "inside", "new", "passwd"]
    assert [names_in(layer) for layer in layers] == before
