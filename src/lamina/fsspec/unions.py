"""The unions that are open in this process, shared by the file systems that ask for the same."""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Sequence
from typing import Any
from weakref import WeakValueDictionary

from lamina.overlay.union.opening import FolderOf
from lamina.overlay.union.union import Union


class Unions:
    """Open unions by what they were asked for with.

    fsspec makes a file system for each thread, and an upper belongs to one union.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._closes_at_exit = False
        self._known: WeakValueDictionary[tuple[object, ...], Union] = WeakValueDictionary()

    def open(self, layers: Sequence[str | FolderOf], upper: str | None, work: str | None, *, sync: bool) -> Union:
        """Return the union, which is opened if nobody has it open."""
        # A process that was forked has memory of its own, so it may not use the union of its parent.
        words = tuple(layer if isinstance(layer, str) else _words(layer) for layer in layers)
        key = (os.getpid(), words, upper, work, sync)
        with self._lock:
            union = self._known.get(key)
            if union is None:
                union = self._known[key] = Union(layers, upper=upper, work=work, sync=sync)
                if not self._closes_at_exit:
                    atexit.register(self._close_all)
                    self._closes_at_exit = True
            return union

    def _close_all(self) -> None:
        """Take away work directories at the end: fsspec keeps file systems for ever, and nobody closes them."""
        for union in list(self._known.values()):
            union.close()

    def close(self, union: Union) -> None:
        """Close the union, for everybody."""
        with self._lock:
            for key in [key for key, known in self._known.items() if known is union]:
                del self._known[key]
        union.close()


def _words(folder: FolderOf) -> tuple[str, ...]:
    fs: Any = folder[0]
    return type(fs).__qualname__, str(fs.storage_args), str(fs.storage_options), folder[1]
