"""Writing so that a crash leaves the old or the new: temporary file, fsync, rename, fsync of the directory.

Nothing here knows what the files mean. Owners and modes: what is made belongs to the user of the store; trees inside
layers are the business of `lamina.layer`.
"""

from __future__ import annotations

import errno
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


def read_bytes(path: str) -> bytes:
    """Return the whole of a file."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        parts = []
        while part := os.read(fd, 1 << 20):
            parts.append(part)
        return b"".join(parts)
    finally:
        os.close(fd)


def read_if_present(path: str) -> bytes | None:
    """Return the whole of a file, or None where it or a directory on the way to it does not exist."""
    try:
        return read_bytes(path)
    except (FileNotFoundError, NotADirectoryError):
        return None


def write_new(path: str, data: bytes, *, sync: bool) -> None:
    """Create the file with this content; FileExistsError where there is one."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        if sync:
            os.fsync(fd)
    finally:
        os.close(fd)


def sync_directory(path: str) -> None:
    """Bring what was created, renamed or removed in a directory to disk."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def ensure_directory(path: str) -> None:
    """Make the directory and those above it where they are missing."""
    try:
        os.mkdir(path, 0o755)
    except FileNotFoundError:
        ensure_directory(os.path.dirname(path))
        ensure_directory(path)
    except FileExistsError:
        pass


def rename_directory(source: str, target: str) -> bool:
    """Rename a directory to a name that nothing has; False, with nothing done, where something has it."""
    try:
        os.rename(source, target)
    except OSError as error:
        # An empty directory would be replaced, but none that is published is empty.
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            return False
        raise
    return True


def remove_empty_parents(path: str, *, up_to: str) -> None:
    """Remove the directories above `path` that are empty, as far as `up_to`, which stays."""
    directory = os.path.dirname(path)
    while directory != up_to:
        try:
            os.rmdir(directory)
        except OSError:  # not empty, or somebody else was faster
            return
        directory = os.path.dirname(directory)


def list_directory(path: str) -> list[str]:
    """Return the names in a directory, sorted; none where it does not exist."""
    try:
        return sorted(os.listdir(path))
    except FileNotFoundError:
        return []


def walk_files(path: str) -> Iterator[str]:
    """Yield the paths of all that is no directory below `path`, sorted; what vanishes meanwhile is left out."""
    for name in list_directory(path):
        entry = os.path.join(path, name)
        if os.path.isdir(entry):
            yield from walk_files(entry)
        else:
            yield entry
