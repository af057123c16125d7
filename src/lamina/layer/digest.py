"""sha256 beside the work: both sides of the pipeline that keeps hashing off the thread that makes files."""

from __future__ import annotations

import hashlib
import queue
import threading
from types import TracebackType

from lamina.errors import InvalidInput
from lamina.tar.compress import Decompressed

_DEPTH = 8  # pieces of about 1 MiB that may wait between two threads
_GATHER = 1 << 18

# What nobody set a limit for may be this large, or this many times as large as it is compressed: gzip cannot do more
# than 1032, and what is larger than both is made to fill a disk.
_HARMLESS = 4 << 30
_RATIO = 1032


class Source:
    """A stream that a second thread reads, decompresses and hashes while the caller uses what came before.

    With `length`, only so many bytes are read. More than `most` uncompressed bytes are refused; where that is None,
    what looks like a decompression bomb is. Use as a context manager; leaving it ends the thread. `size` and `diff_id`
    are those of the uncompressed stream and are valid once `read` has returned b"".
    """

    def __init__(self, fd: int, length: int | None = None, most: int | None = None) -> None:
        self._most = most
        self._stream = Decompressed(fd, length)
        self._hash = hashlib.sha256()
        self._queue: queue.Queue[bytes | Exception] = queue.Queue(_DEPTH)
        self._stopping = False
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="lamina-read", daemon=True)
        self.size = 0

    def __enter__(self) -> Source:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping = True
        self._stream.stop()
        while self._thread.is_alive():  # a thread that waits for room in the queue gets it
            try:
                self._queue.get(timeout=0.05)
            except queue.Empty:
                continue
        self._thread.join()

    @property
    def compression(self) -> str:
        """How the stream is compressed: "gzip", "zstd", "xz", "bzip2" or "none"."""
        return self._stream.compression

    @property
    def consumed(self) -> int:
        """How many bytes of the compressed stream have been read."""
        return self._stream.consumed

    @property
    def diff_id(self) -> str:
        """The digest of the whole uncompressed stream."""
        return f"sha256:{self._hash.hexdigest()}"

    def read(self) -> bytes:
        """Return the next piece, b"" at the end; raise what reading raised."""
        if self._ended:
            return b""
        piece = self._queue.get()
        if isinstance(piece, Exception):
            self._ended = True
            raise piece
        self.size += len(piece)
        self._ended = not piece
        self._check_size()
        return piece

    def _check_size(self) -> None:
        limit = self._most
        if limit is None:
            limit = max(_HARMLESS, self.consumed * _RATIO)
        if self.size > limit:
            hint = "--max-unpacked-size allows more"
            raise InvalidInput("unpack", "the layer", f"{self.consumed} bytes become more than {limit}", hint)

    def _run(self) -> None:
        try:
            while not self._stopping:
                piece = self._stream.read()
                self._hash.update(piece)
                self._queue.put(piece)
                if not piece:
                    return
        except Exception as error:  # noqa: BLE001  # carried to the thread that reads
            self._queue.put(error)


class Digester:
    """sha256 of bytes that are handed over piece by piece and hashed by a second thread.

    Use as a context manager; `diff_id` and `size` are valid after `finish`.
    """

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._queue: queue.Queue[bytes] = queue.Queue(_DEPTH)
        self._parts: list[bytes] = []
        self._gathered = 0
        self._thread = threading.Thread(target=self._run, name="lamina-digest", daemon=True)
        self.size = 0

    def __enter__(self) -> Digester:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._thread.is_alive():
            self.finish()

    def update(self, data: bytes) -> None:
        """Add `data`; returns at once unless much is waiting."""
        self._parts.append(data)
        self._gathered += len(data)
        if self._gathered >= _GATHER:
            self._flush()

    def finish(self) -> str:
        """Wait for the hashing of all that was added and return the digest, with its algorithm."""
        self._flush()
        self._queue.put(b"")
        self._thread.join()
        return f"sha256:{self._hash.hexdigest()}"

    def _flush(self) -> None:
        if self._parts:
            self._queue.put(self._parts[0] if len(self._parts) == 1 else b"".join(self._parts))
            self.size += self._gathered
            self._parts, self._gathered = [], 0

    def _run(self) -> None:
        while piece := self._queue.get():
            self._hash.update(piece)
