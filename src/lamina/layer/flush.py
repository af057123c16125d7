"""Bringing a layer to disk while it is still being made, so that little is left to wait for at its end.

The kernel begins to write on its own only when much memory is dirty, or after seconds (the kernel's sysctl/vm.rst,
dirty_background_ratio): a layer would be made in memory first, and written afterwards.
"""

from __future__ import annotations

import os
import threading

from lamina.linux import files

_STEP = 64 << 20  # bytes that are worth beginning to write


class Flusher:
    """Has the file system of the directory `fd` written by a thread of its own. Use as a context manager.

    What was not written by the end of the block is the caller's to sync, and so is every error.
    """

    def __init__(self, fd: int) -> None:
        # An error is told once for each opening of the file system (syncfs(2)): the caller's own is to hear of it.
        self._fd = os.open(b".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=fd)
        self._next = _STEP
        self._wanted = threading.Event()
        self._ended = False
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Flusher:
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = True
        self._wanted.set()
        if self._thread is not None:
            self._thread.join()
        os.close(self._fd)

    def at(self, done: int) -> None:
        """Note that `done` bytes were written so far; returns at once."""
        if done < self._next:
            return
        self._next = done + _STEP
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="lamina-flush", daemon=True)
            self._thread.start()
        self._wanted.set()

    def _run(self) -> None:
        while True:
            self._wanted.wait()
            self._wanted.clear()
            if self._ended:
                return
            try:
                files.syncfs(self._fd)
            except OSError:  # the one that the caller makes tells
                return
