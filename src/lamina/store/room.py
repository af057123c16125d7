"""How much room a store takes while things are taken away one by one: for a collection that stops when it is enough."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from lamina.layer import jobs
from lamina.store.files import list_directory
from lamina.store.layout import Layout

if TYPE_CHECKING:
    from lamina.ids.worker import Worker


class Room:
    """A store's size on disk, and `most`, both in bytes. It is measured here, before anybody takes the store's lock."""

    def __init__(self, layout: Layout, worker: Worker, most: int) -> None:
        self._most = most
        self._sizes = {thing: size_of(layout, worker, thing) for thing in large_things(layout)}
        self._total = int(worker.call(jobs.disk_usage, path=layout.root)["bytes"])

    @property
    def enough(self) -> bool:
        """Whether the store takes no more than it may."""
        return self._total <= self._most

    def without(self, thing: str) -> None:
        """Take note that a layer or blob is gone."""
        self._total -= self._sizes.get(thing, 0)


def large_things(layout: Layout) -> list[str]:
    """Return the layers and blobs of a store."""
    things = [f"layers/{name}" for name in list_directory(layout.path("layers"))]
    for algorithm in list_directory(layout.path("blobs")):
        things += [f"blobs/{algorithm}/{name}" for name in list_directory(layout.path("blobs", algorithm))]
    return things


def size_of(layout: Layout, worker: Worker, thing: str) -> int:
    """Return the bytes that something of the store, a directory or a file, takes on disk; 0 where it is gone."""
    try:
        return int(worker.call(jobs.disk_usage, path=layout.path(thing))["bytes"])
    except (FileNotFoundError, NotADirectoryError):
        pass
    try:
        return os.stat(layout.path(thing)).st_blocks * 512
    except FileNotFoundError:  # removed meanwhile
        return 0
