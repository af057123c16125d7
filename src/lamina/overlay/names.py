"""The names in an archive: which are paths in a layer, and which are OCI's whiteouts."""

from __future__ import annotations

from lamina.errors import InvalidInput
from lamina.overlay import format as marks


def parts_of(name: bytes) -> list[bytes]:
    """Return the components of an archive's name; a leading slash and `.` mean nothing.

    InvalidInput for `..`, which no archiver writes and every attack does, and for a NUL.
    """
    if b"/." not in name and b"//" not in name and name[:1] not in b"./" and b"\0" not in name:
        return name.rstrip(b"/").split(b"/")  # almost every name there is
    parts = [part for part in name.split(b"/") if part not in (b"", b".")]
    if b".." in parts:
        raise InvalidInput("apply", name, "the name leads upwards (..)")
    if b"\0" in name:
        raise InvalidInput("apply", name, "the name contains a NUL byte")
    for part in parts[:-1]:
        if part.startswith(marks.WHITEOUT_PREFIX):
            raise InvalidInput("apply", name, "a whiteout cannot be a directory")
    return parts


def whiteout_of(name: bytes, last: bytes) -> bytes:
    """Return NAME for the component `.wh.NAME`; InvalidInput where no NAME is left to hide."""
    hidden = marks.whited_out_name(last)
    if hidden in (None, b"", b".", b".."):
        raise InvalidInput("apply", name, "the whiteout names nothing")
    assert hidden is not None
    return hidden


def join(directory: bytes, name: bytes) -> bytes:
    """Return the path of `name` in `directory`, which is b"" for the root."""
    return directory + b"/" + name if directory else name


def depth(name: bytes) -> int:
    """Return how many components a directory's name in an archive has; 0 for the root."""
    return len([part for part in name.split(b"/") if part not in (b"", b".")])
