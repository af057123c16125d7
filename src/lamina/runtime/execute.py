"""Becoming the command: finding its program as execvp(3) would, and telling apart why it cannot be executed.

Docker's statuses: 127 for a command that does not exist, 126 for one that cannot be executed, 125 for everything that
fails before.
"""

from __future__ import annotations

import errno
import os

from lamina.errors import LaminaError, NotFound, Unsupported
from lamina.linux.paths import RESOLVE_NO_MAGICLINKS, open_in_root, openat2

_AT_FDCWD = -100
_MAX_FIRST_LINE = 256  # BINPRM_BUF_SIZE
_MAX_INTERPRETERS = 6  # one more than the kernel follows (exec_binprm)

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


def refuse_magic(program: str) -> None:
    """Refuse a program, or the interpreter that its first line names, behind a magic link of /proc (proc(5)).

    Through /proc/self/exe an image would start our own interpreter once more, and get a handle on the machine's file.
    """
    for _ in range(_MAX_INTERPRETERS):
        try:
            fd = openat2(_AT_FDCWD, os.fsencode(program), os.O_RDONLY | os.O_CLOEXEC, 0, RESOLVE_NO_MAGICLINKS)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise not_executable(program, "a link of /proc leads to it") from error
            if error.errno not in (errno.ENOSYS, errno.EPERM):
                return  # not to be read: execve(2) says what is wrong with it
            fd = _open_but_ours(program)
            if fd < 0:
                return
        try:
            words = os.read(fd, _MAX_FIRST_LINE).partition(b"\n")[0].split() if _is_file(fd) else []
        finally:
            os.close(fd)
        if not words or not words[0].startswith(b"#!"):
            return
        interpreter = words[0][2:] or (words[1] if len(words) > 1 else b"")
        if not interpreter:
            return
        program = os.fsdecode(interpreter)


def _open_but_ours(program: str) -> int:
    """Open a program where a filter hides openat2: -1 if it cannot be read; refused if it is our own interpreter."""
    try:
        fd = os.open(program, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return -1
    if os.path.samestat(os.fstat(fd), os.stat("/proc/self/exe")):
        os.close(fd)
        raise not_executable(program, "a link of /proc leads to it")
    return fd


def _is_file(fd: int) -> bool:
    return os.fstat(fd).st_mode & 0o170000 == 0o100000


def make_directory(path: str) -> None:
    """Make `path` with its parents where it does not exist; an error names it. Links of /proc are not followed."""
    root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.close(_ensure(root, os.fsencode(path)))
    except OSError as error:
        raise LaminaError("make the working directory", path, error) from error
    finally:
        os.close(root)


def _ensure(root: int, path: bytes) -> int:
    try:
        return open_in_root(root, path, os.O_PATH | os.O_DIRECTORY)
    except FileNotFoundError:
        head, name = os.path.split(path.rstrip(b"/"))
        parent = _ensure(root, head)
    try:
        os.mkdir(name, dir_fd=parent)
        return open_in_root(parent, name, os.O_PATH | os.O_DIRECTORY)
    finally:
        os.close(parent)


def enter_directory(path: str) -> None:
    """Make `path` the working directory; an error names it.

    Links of /proc are not followed: behind /proc/self/fd lie directories of the machine that are still open here.
    """
    try:
        root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            place = open_in_root(root, os.fsencode(path), os.O_PATH | os.O_DIRECTORY)
            os.fchdir(place)
            os.close(place)
        finally:
            os.close(root)
    except OSError as error:
        raise LaminaError("start in the directory", path, error) from error
