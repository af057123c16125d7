"""Archives as contexts: a tar, compressed or not, is read without being unpacked, through a plain copy of it."""

from __future__ import annotations

import os

from lamina.errors import InvalidInput
from lamina.overlay.union.union import Union
from lamina.tar.compress import Decompressed

_BLOCK = 512


def keep_archive(fd: int, path: str, what: str) -> bytes | None:
    """Write the tar that comes from `fd` uncompressed to the new file `path`, and return None.

    What is no tar is returned as bytes instead, up to 16 MiB and a byte of it: a Dockerfile, perhaps. Told apart by its
    first bytes, as docker does. Raises InvalidInput naming `what` for a broken archive.
    """
    stream = Decompressed(fd)
    head = b""
    while len(head) < _BLOCK and (piece := stream.read()):
        head += piece
    if stream.compression == "none" and not is_tar(head):
        while len(head) <= 16 << 20 and (piece := stream.read()):
            head += piece
        return head
    with open(path, "xb") as file:
        file.write(head)
        while piece := stream.read():
            file.write(piece)
    if not is_tar(head):
        raise InvalidInput("read the context", what, f"what is compressed with {stream.compression} is no tar archive")
    check_archive(path, what)
    return None


def is_tar(head: bytes) -> bool:
    """Tell whether a file that begins with `head` is a tar archive: an empty one, or one with a valid first header."""
    if len(head) < _BLOCK:
        return False
    block = head[:_BLOCK]
    if not any(block):
        return True
    try:
        checksum = int(block[148:156].strip(b"\0 ") or b"0", 8)
    except ValueError:
        return False
    return sum(block) - sum(block[148:156]) + 8 * ord(" ") == checksum


def check_archive(path: str, what: str) -> None:
    """Read an archive from end to end. Raises InvalidInput, naming `what` and the place."""
    try:
        with Union([path]):
            return
    except InvalidInput as error:
        raise InvalidInput("read the context", what, error.reason, error.hint) from error
    except OSError as error:
        raise InvalidInput("read the context", what, os.strerror(error.errno or 0)) from error
