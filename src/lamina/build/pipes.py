"""A stream from one that writes to one that reads, without a file between."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from lamina.ids.worker import Fd


@contextmanager
def stream_of(write: Callable[[Fd], None]) -> Iterator[Fd]:
    """Yield the end of a pipe that `write`, in a thread of its own, fills; an error of `write` is the one raised.

    Who writes is stopped (EPIPE) where the block ends before the stream does.
    """
    reader, writer = os.pipe()

    def run() -> None:
        try:
            write(Fd(writer))
        finally:
            os.close(writer)

    with ThreadPoolExecutor(1, "lamina-stream") as pool:
        writing = pool.submit(run)
        try:
            yield Fd(reader)
        except BaseException:
            os.close(reader)
            # It ended early because writing failed, and then that is what to tell.
            cause = writing.exception()
            if cause is not None and not isinstance(cause, BrokenPipeError):
                raise cause from None
            raise
        os.close(reader)
        writing.result()
