"""The build context: where COPY and ADD find the files that a person gives, and the Dockerfile among them."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO

from lamina.errors import InvalidInput, NotFound

_MAX_DOCKERFILE = 16 << 20


@dataclass(frozen=True, slots=True)
class Context:
    """The files for a build: a directory or a tar archive, and the text of the .dockerignore that holds for it."""

    root: str
    ignore: str = ""


@dataclass(frozen=True, slots=True)
class Input:
    """What a build starts from: the Dockerfile's bytes, what messages call it, and the context."""

    dockerfile: bytes
    name: str
    context: Context


def open_directory(directory: str, dockerfile: str | None) -> Input:
    """Return the input for a directory of the host; `dockerfile` is a path, by default the one in the directory.

    The patterns are those of NAME.dockerignore beside the Dockerfile, else of .dockerignore at the context's root.
    """
    check_directory(directory)
    name = dockerfile or default_dockerfile(lambda name: os.path.exists(os.path.join(directory, name)))
    path = dockerfile or os.path.join(directory, name)
    if dockerfile is None and os.path.exists(path) and not os.path.isfile(path):  # a pipe would never end
        raise InvalidInput("read the Dockerfile", path, "it is not a regular file")
    data = read_dockerfile(path)
    return Input(data, os.path.basename(path), context_of(directory, path))


def check_directory(directory: str) -> None:
    """Raise NotFound where there is no such directory."""
    if not os.path.isdir(directory):
        reason = "it is not a directory" if os.path.lexists(directory) else "no such directory"
        raise NotFound("build from", directory, reason)


def context_of(directory: str, dockerfile: str = "") -> Context:
    """Return the context that a directory of the host is, `dockerfile` being the path of the Dockerfile for it."""
    ignore = _read_text(f"{dockerfile}.dockerignore") if dockerfile else None
    if ignore is None:
        ignore = _read_text(os.path.join(directory, ".dockerignore"))
    return Context(os.path.abspath(directory), ignore or "")


def read_dockerfile(path: str) -> bytes:
    """Return a Dockerfile's bytes. NotFound or InvalidInput say what is wrong with the file."""
    try:
        with open(path, "rb") as file:
            return read_stream(file, path)
    except FileNotFoundError:
        raise NotFound("read the Dockerfile", path, "no such file", "name another with -f") from None
    except OSError as error:
        raise InvalidInput("read the Dockerfile", path, error) from error


def read_stream(stream: IO[bytes], what: str = "-") -> bytes:
    """Return the bytes of a Dockerfile that a stream gives; InvalidInput where they are too many."""
    data = stream.read(_MAX_DOCKERFILE + 1)
    if len(data) > _MAX_DOCKERFILE:
        raise InvalidInput("read the Dockerfile", what, f"it is larger than {_MAX_DOCKERFILE} bytes")
    return data


def default_dockerfile(exists: Callable[[str], bool]) -> str:
    """Return the name of the Dockerfile of a context that has names for which `exists` is true."""
    return next(filter(exists, ("Dockerfile", "Containerfile")), "Dockerfile")


def _read_text(path: str) -> str | None:
    """Return what a file of patterns holds, or None where there is none. What lies in a context may be anything."""
    try:
        # Without O_NONBLOCK, opening a pipe waits for a writer.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise InvalidInput("read the patterns in", path, error) from error
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise InvalidInput("read the patterns in", path, "it is not a regular file")
    with open(fd, "rb") as file:
        data: bytes = file.read(_MAX_DOCKERFILE + 1)
    if len(data) > _MAX_DOCKERFILE:
        raise InvalidInput("read the patterns in", path, f"it is larger than {_MAX_DOCKERFILE} bytes")
    return os.fsdecode(data)
