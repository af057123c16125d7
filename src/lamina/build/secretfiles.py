"""Secrets as files for one RUN: copies in memory, with the owner and mode that the mount asks for, never in the store.

A machine without a file system in memory where this user may write shows the secret's own file instead, with its own
mode; a secret that is a value cannot be shown as a file there.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import suppress
from typing import TYPE_CHECKING

from lamina.build.dockerfile.mounts import SecretMount
from lamina.errors import LaminaError, NotFound, Unsupported
from lamina.linux.mountinfo import mount_points

if TYPE_CHECKING:
    from lamina.ids.worker import Worker

_PLACES = ("/dev/shm",)  # a directory of one's own is made in it
_IN_MEMORY = ("tmpfs", "ramfs")
_LARGEST = 1 << 20  # bytes; BuildKit refuses more than half of it


class SecretFiles:
    """The secret files of one RUN, gone with the `with` block."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._directory = ""
        self._count = 0

    def __enter__(self) -> SecretFiles:
        return self

    def __exit__(self, *_: object) -> None:
        if self._directory:
            shutil.rmtree(self._directory)

    def add(self, secret: str | bytes, mount: SecretMount) -> str:
        """Return the path of a file with the secret, as the mount wants it."""
        if not self._directory:
            place = _place()
            if place is None:
                return _own_file(secret)
            self._directory = tempfile.mkdtemp(prefix="lamina-secret-", dir=place)
        self._count += 1
        path = os.path.join(self._directory, str(self._count))
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(read_secret(secret))
        self._worker.call(give_file, path=path, uid=mount.uid, gid=mount.gid, mode=mount.mode)
        return path


def read_secret(secret: str | bytes) -> bytes:
    """Return a secret's value: itself, or what is in the file. Its errors name the file, and never the content."""
    if isinstance(secret, bytes):
        return secret
    try:
        with open(secret, "rb") as file:
            value = file.read(_LARGEST + 1)
    except FileNotFoundError as error:
        raise NotFound("read the secret", secret, "no such file") from error
    except OSError as error:
        raise LaminaError("read the secret", secret, error) from error
    if len(value) > _LARGEST:
        raise LaminaError("read the secret", secret, f"it is larger than {_LARGEST} bytes")
    return value


def give_file(*, path: str, uid: int, gid: int, mode: int) -> None:
    """Give a file its owner and mode; a job. Where there is one id, the owner stays."""
    if (uid, gid) != (os.geteuid(), os.getegid()):
        with suppress(OSError):
            os.chown(path, uid, gid)
    os.chmod(path, mode)


def _own_file(secret: str | bytes) -> str:
    if isinstance(secret, bytes):
        raise Unsupported(
            "show a secret as", "a file", "there is no file system in memory to write it to", "mount /dev/shm"
        )
    return os.path.abspath(secret)


def _place() -> str | None:
    in_memory = {mount.path: mount.fstype in _IN_MEMORY for mount in mount_points()}
    return next((path for path in _PLACES if in_memory.get(path) and os.access(path, os.W_OK | os.X_OK)), None)
