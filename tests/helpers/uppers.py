"""Uppers made by either driver in a folder of their own, and what the kernel shows of them."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeAlias

from lamina.overlay.stack import Overlay
from lamina.overlay.union.union import Union
from tests.helpers.histories import Operation, play
from tests.helpers.unions import InProcess, Item, Mounted, inodes, make_layers, mount_kernel, snapshot, unmount

#: What the kernel needs to show all that either driver writes, and what any mount of anybody's has.
FOLLOWING = ("redirect_dir=on", "index=on", "metacopy=on", "xino=off")
PLAIN = ("redirect_dir=nofollow", "index=on", "metacopy=off", "xino=off")


Seen: TypeAlias = tuple[dict[str, tuple[Any, ...]], set[frozenset[str]]]


class Place:
    """Layers, an upper and a work directory, in a folder of their own."""

    def __init__(self, top: Path, layers: list[list[Item]]) -> None:
        self.top = top
        self.layers = make_layers(top, layers)
        for name in ("upper", "work", "merged"):
            (top / name).mkdir()

    def overlay(self) -> Overlay:
        return Overlay([str(path) for path in self.layers], upper=str(self.top / "upper"), work=str(self.top / "work"))

    @contextmanager
    def mounted(self, *options: str) -> Iterator[Mounted]:
        mount_kernel(self.layers, self.top / "upper", self.top / "work", self.top / "merged", *options)
        try:
            yield Mounted(self.top / "merged")
        finally:
            unmount(self.top / "merged")

    def play(self, driver: str, history: list[Operation]) -> None:
        """Let the history happen through one driver."""
        if driver in ("kernel", "metacopy"):
            options = FOLLOWING if driver == "metacopy" else ("redirect_dir=on", "index=on", "metacopy=off")
            with self.mounted(*options) as actor:
                play(actor, history)
        else:
            upper, work = self.top / "upper", self.top / "work"
            renames: Literal["redirect", "copy"] = "copy" if driver == "copying" else "redirect"
            with Union(self.layers, upper=upper, work=work, sync=False, renames=renames) as union:
                play(InProcess(union), history)


def seen(actor: Mounted, *, times: bool = True) -> Seen:
    """Return what the tree shows without link counts, and which names are one file.

    A layer's file counts also those of its names that an upper hides, until a merge removes them.
    """
    names: dict[int, set[str]] = {}
    for path, number in inodes(actor).items():
        names.setdefault(number, set()).add(path)
    groups = {frozenset(group) for group in names.values()}
    return {path: (*found[:3], *found[4:]) for path, found in snapshot(actor, times=times).items()}, groups


@contextmanager
def place(scratch: Path, layers: list[list[Item]]) -> Iterator[Place]:
    top = Path(tempfile.mkdtemp(dir=scratch))
    previous = os.umask(0o022)
    try:
        yield Place(top, layers)
    finally:
        os.umask(previous)
        shutil.rmtree(top)
