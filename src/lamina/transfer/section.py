"""A stretch of bytes in a file that can be opened: how blobs lie in directories, archives and scratch files."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from lamina.errors import InvalidInput
from lamina.oci.digest import BlobDigest

#: How many bytes go from hand to hand at once.
PIECE = 1 << 18


@dataclass(frozen=True, slots=True)
class Section:
    """`size` bytes at `offset` of the file `path`, which whoever made this keeps there."""

    path: str
    offset: int
    size: int

    @contextmanager
    def opened(self) -> Iterator[int]:
        """Open the file for a `with` block, at the first of the bytes and with a position of its own."""
        fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.lseek(fd, self.offset, os.SEEK_SET)
            yield fd
        finally:
            os.close(fd)

    def pieces(self) -> Iterator[bytes]:
        """Yield the bytes; InvalidInput where the file is shorter."""
        with self.opened() as fd:
            left = self.size
            while left:
                piece = os.read(fd, min(left, PIECE))
                if not piece:
                    raise InvalidInput("read", self.path, "it is shorter than it was")
                left -= len(piece)
                yield piece

    def digest(self) -> BlobDigest:
        """Read all bytes and return their digest."""
        digest = hashlib.sha256()
        for piece in self.pieces():
            digest.update(piece)
        return BlobDigest(f"sha256:{digest.hexdigest()}")

    def read(self, most: int, what: str) -> bytes:
        """Return all bytes; InvalidInput naming `what` where there are more than `most`."""
        if self.size > most:
            raise InvalidInput("read", what, f"it is larger than {most} bytes")
        return b"".join(self.pieces())


def whole_file(path: str) -> Section:
    """Return the whole of a regular file as it is now; InvalidInput for what else may lie there, such as a pipe."""
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        raise InvalidInput("read", path, "it is not a regular file")
    return Section(path, 0, status.st_size)
