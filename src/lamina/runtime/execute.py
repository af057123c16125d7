"""Becoming the command: finding its program as execvp(3) would, and telling apart why it cannot be executed.

Docker's statuses: 127 for a command that does not exist, 126 for one that cannot be executed, 125 for everything that
fails before.
"""

from __future__ import annotations

import errno
import os

from lamina.errors import LaminaError, NotFound, Unsupported

FAILED, NOT_EXECUTABLE, NOT_FOUND = 125, 126, 127


def find_program(name: str, path: str) -> str:
    """Return the file that execve(2) is to get for `name`, as execvp(3) would look for it inside the container.

    Raises NotFound (exit status 127), or Unsupported (126) where there is one that cannot be executed.
    """
    candidates = [name] if "/" in name else [os.path.join(place or ".", name) for place in path.split(":")]
    refused = ""
    for candidate in candidates:
        try:
            mode = os.stat(candidate).st_mode
        except OSError:
            continue
        if mode & 0o170000 == 0o100000 and os.access(candidate, os.X_OK):
            return candidate
        refused = refused or ("it is a directory" if mode & 0o170000 == 0o040000 else "permission denied")
    if refused and "/" in name:
        raise not_executable(name, refused)
    if "/" in name:
        raise not_found(name, "no such file")
    raise not_found(name, f"it is in no directory of PATH ({path})")


def execute_file(program: str, argv: list[str], env: dict[str, str]) -> None:
    """Become the program: execve(2). Raises as `find_program` does where its interpreter or loader is at fault."""
    try:
        os.execve(program, argv, env)
    except OSError as error:
        if error.errno == errno.ENOENT:
            raise not_found(program, "the interpreter or loader that it names does not exist") from error
        if error.errno in (errno.EACCES, errno.ENOEXEC, errno.EPERM):
            raise not_executable(program, error.strerror or "refused") from error
        raise


def not_found(name: str, reason: str) -> NotFound:
    """Return the error for a command that does not exist: exit status 127."""
    error = NotFound("run", name, reason)
    error.status = NOT_FOUND
    return error


def not_executable(name: str, reason: str) -> Unsupported:
    """Return the error for a command that exists and cannot be executed: exit status 126."""
    error = Unsupported("run", name, reason)
    error.status = NOT_EXECUTABLE
    return error


def make_directory(path: str) -> None:
    """Make `path` with its parents where it does not exist; an error names it."""
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise LaminaError("make the working directory", path, error) from error


def enter_directory(path: str) -> None:
    """Make `path` the working directory; an error names it."""
    try:
        os.chdir(path)
    except OSError as error:
        raise LaminaError("start in the directory", path, error) from error
