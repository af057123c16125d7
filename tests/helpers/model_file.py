"""A file and what it should hold: random reads, writes, maps, holes and sizes, in the manner of fsx.

Each operation is made to the file, by whatever serves it, and to bytes in memory; every reading is compared.
"""

from __future__ import annotations

import mmap
import os
import random
from collections.abc import Callable

from lamina.linux.handle import fallocate

PUNCH, ZERO, KEEP_SIZE = 2, 16, 1
_LARGEST = 300_000

Opener = Callable[[], int]


class ModelFile:
    """The file that `opener` opens for reading and writing, which holds `data`. `close` when done.

    `source` is a descriptor, which stays the caller's, of a file that holds `source_data` and is copied from.
    """

    def __init__(self, opener: Opener, data: bytes, seed: int, *, source: int, source_data: bytes) -> None:
        self._opener = opener
        self._source, self._source_data = source, source_data
        self.fd = opener()
        self.data = bytearray(data)
        self.random = random.Random(seed)
        self.made = 0
        self._steps = (
            self._write, self._write, self._append, self._read, self._read, self._truncate, self._punch, self._zero,
            self._allocate, self._map, self._map, self._read_map, self._copy, self._copy_in, self._seek, self._forget,
        )  # fmt: skip

    def close(self) -> None:
        """Close the descriptor; the model goes on with `reopen`."""
        os.close(self.fd)
        self.fd = -1

    def reopen(self, opener: Opener, *, source: int) -> None:
        """Go on with the file as it is found elsewhere, and compare all of it."""
        self.fd, self._opener, self._source = opener(), opener, source
        self.compare()

    def step(self) -> None:
        """Make one random operation."""
        self.random.choice(self._steps)()
        self.made += 1

    def compare(self) -> None:
        """Compare all of the file, its size, and what a map of it shows."""
        assert os.fstat(self.fd).st_size == len(self.data)
        assert os.pread(self.fd, len(self.data) + 1, 0) == self.data
        if self.data:
            with mmap.mmap(self.fd, len(self.data), prot=mmap.PROT_READ) as mapped:
                assert mapped[:] == self.data

    def _span(self, largest: int = 60_000) -> tuple[int, int]:
        start = self.random.randrange(_LARGEST)
        if not self.random.randrange(3):
            start &= ~4095  # on the edge of a page
        return start, self.random.randrange(1, min(largest, _LARGEST - start) + 1)

    def _bytes(self, length: int) -> bytes:
        return self.random.randbytes(16) * (length // 16) + self.random.randbytes(length % 16)

    def _grow(self, end: int) -> None:
        self.data.extend(bytes(max(0, end - len(self.data))))

    def _write(self) -> None:
        start, length = self._span()
        data = self._bytes(length)
        assert os.pwrite(self.fd, data, start) == length
        self._grow(start)
        self.data[start : start + length] = data

    def _append(self) -> None:
        length = min(self.random.randrange(1, 5000), _LARGEST - len(self.data))
        data = self._bytes(max(length, 0))
        os.lseek(self.fd, 0, os.SEEK_END)
        assert os.write(self.fd, data) == len(data)
        self.data += data

    def _read(self) -> None:
        start, length = self._span()
        assert os.pread(self.fd, length, start) == self.data[start : start + length]

    def _truncate(self) -> None:
        size = self.random.randrange(_LARGEST)
        os.ftruncate(self.fd, size)
        del self.data[size:]
        self._grow(size)

    def _punch(self) -> None:
        start, length = self._span()
        fallocate(self.fd, PUNCH | KEEP_SIZE, start, length)
        end = min(start + length, len(self.data))
        if start < end:
            self.data[start:end] = bytes(end - start)

    def _zero(self) -> None:
        start, length = self._span()
        keeps = self.random.random() < 0.3
        fallocate(self.fd, ZERO | (KEEP_SIZE if keeps else 0), start, length)
        if not keeps:
            self._grow(start + length)
        end = min(start + length, len(self.data))
        if start < end:
            self.data[start:end] = bytes(end - start)

    def _allocate(self) -> None:
        start, length = self._span(20_000)
        keeps = self.random.random() < 0.5
        fallocate(self.fd, KEEP_SIZE if keeps else 0, start, length)
        if not keeps:
            self._grow(start + length)

    def _map(self) -> None:
        if not self.data:
            return
        start = self.random.randrange(len(self.data))
        data = self._bytes(self.random.randrange(1, min(9000, len(self.data) - start) + 1))
        with mmap.mmap(self.fd, len(self.data)) as mapped:
            mapped[start : start + len(data)] = data
            if not self.random.randrange(8):
                mapped.flush()
        self.data[start : start + len(data)] = data

    def _read_map(self) -> None:
        if self.data:
            start = self.random.randrange(len(self.data))
            with mmap.mmap(self.fd, len(self.data), prot=mmap.PROT_READ) as mapped:
                assert mapped[start : start + 40_000] == self.data[start : start + 40_000]

    def _copy(self) -> None:
        if len(self.data) < 2:
            return
        half = len(self.data) // 2
        length = self.random.randrange(1, half + 1)
        start, to = (0, half) if self.random.random() < 0.5 else (half, 0)
        done = os.copy_file_range(self.fd, self.fd, length, start, to)
        self.data[to : to + done] = self.data[start : start + done]

    def _copy_in(self) -> None:
        start, length = self._span(30_000)
        at = self.random.randrange(len(self._source_data))
        done = os.copy_file_range(self._source, self.fd, length, at, start)
        assert done == min(length, len(self._source_data) - at)
        self._grow(start)
        self.data[start : start + done] = self._source_data[at : at + done]

    def _seek(self) -> None:
        """Find data and hole from anywhere: what is passed over on the way to data, and all of a hole, is zeros."""
        if not self.data:
            return
        start = self.random.randrange(len(self.data))
        try:
            data = os.lseek(self.fd, start, os.SEEK_DATA)
        except OSError:  # ENXIO: there are none
            data = len(self.data)
        assert start <= data <= len(self.data)
        assert not any(self.data[start:data])
        hole = os.lseek(self.fd, start, os.SEEK_HOLE)
        assert start <= hole <= len(self.data)

    def _forget(self) -> None:
        """Let the kernel drop the file's pages, or open the file anew."""
        if self.random.random() < 0.5:
            os.fsync(self.fd)
            os.posix_fadvise(self.fd, 0, 0, os.POSIX_FADV_DONTNEED)
        else:
            os.close(self.fd)
            self.fd = self._opener()
