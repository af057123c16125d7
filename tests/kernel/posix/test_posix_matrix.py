"""Every call on every kind of name: the same answer and the same tree on a plain directory and on unions."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.kernel.posix.matrix import CALLS, TARGETS, left_behind, perform, populate
from tests.kernel.posix.places import NAMES, place

pytestmark = pytest.mark.requires("root", "overlay", "fuse")

CHECKS = [(call, target) for call in CALLS for target in TARGETS]

USER = 12345

# The kernel's overlay does these otherwise; a plain directory and our union agree.
KERNEL_DIFFERS: set[tuple[str, str]] = set()


@contextmanager
def _acting_as(user: int) -> Iterator[None]:
    if not user:
        yield
        return
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(user)
    os.seteuid(user)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


def _results(name: str, scratch: Path, user: int) -> dict[tuple[str, str], Any]:
    def prepare(lower: Path) -> None:
        for number in range(len(CHECKS)):
            folder = lower / str(number)
            folder.mkdir()
            populate(str(folder), owner=user)

    results = {}
    with place(name, scratch, prepare) as top:
        for number, (call, target) in enumerate(CHECKS):
            folder = str(top / str(number))
            with _acting_as(user):
                said = perform(folder, call, target)
            results[call, target] = (said, left_behind(folder))
    return results


@pytest.mark.parametrize("user", [0, USER], ids=["root", "user"])
def test_same_everywhere(scratch: Path, user: int) -> None:
    assert len(CHECKS) >= 900
    previous = os.umask(0o022)
    try:
        found = {name: _results(name, scratch, user) for name in NAMES}
    finally:
        os.umask(previous)
    differences = []
    for check in CHECKS:
        plain, kernel, ours = (found[name][check] for name in NAMES)
        if ours != plain or (kernel != plain and check not in KERNEL_DIFFERS):
            differences.append((check, _parted(plain, kernel, ours)))
    assert not differences, "\n".join(map(str, differences[:20])) + f"\n{len(differences)} in all"


def _parted(plain: Any, kernel: Any, ours: Any) -> dict[str, Any]:
    """Return where the results part: the answers, or else the entries of the trees that are not the same."""
    if not plain[0] == kernel[0] == ours[0]:
        return {"plain": plain[0], "kernel": kernel[0], "ours": ours[0]}
    trees = {"plain": set(plain[1]), "kernel": set(kernel[1]), "ours": set(ours[1])}
    common = set.intersection(*trees.values())
    return {name: sorted(tree - common, key=str) for name, tree in trees.items()}
