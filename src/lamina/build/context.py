"""The build context: where COPY and ADD find the files that a person gives, and the Dockerfile among them."""

from __future__ import annotations

import os
from dataclasses import dataclass

from lamina.errors import InvalidInput, NotFound

_MAX_DOCKERFILE = 16 << 20


@dataclass(frozen=True, slots=True)
class Context:
    """A directory with files for a build, and the text of the .dockerignore that holds for it."""

    directory: str
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
    if not os.path.isdir(directory):
        reason = "it is not a directory" if os.path.lexists(directory) else "no such directory"
        raise NotFound("build from", directory, reason)
    path = dockerfile or _default(directory)
    data = read_dockerfile(path)
    ignore = _read_text(f"{path}.dockerignore")
    if ignore is None:
        ignore = _read_text(os.path.join(directory, ".dockerignore"))
    return Input(data, os.path.basename(path), Context(os.path.abspath(directory), ignore or ""))


def read_dockerfile(path: str) -> bytes:
    """Return a Dockerfile's bytes. NotFound or InvalidInput say what is wrong with the file."""
    try:
        with open(path, "rb") as file:
            data = file.read(_MAX_DOCKERFILE + 1)
    except FileNotFoundError:
        raise NotFound("read the Dockerfile", path, "no such file", "name another with -f") from None
    except OSError as error:
        raise InvalidInput("read the Dockerfile", path, error) from error
    if len(data) > _MAX_DOCKERFILE:
        raise InvalidInput("read the Dockerfile", path, f"it is larger than {_MAX_DOCKERFILE} bytes")
    return data


def _default(directory: str) -> str:
    for name in ("Dockerfile", "Containerfile"):
        path = os.path.join(directory, name)
        if os.path.exists(path):
            return path
    return os.path.join(directory, "Dockerfile")


def _read_text(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except (FileNotFoundError, NotADirectoryError):
        return None
