"""What build steps made: `build/steps/HEX`, HEX being a step's cache key, and `build/last/HEX` for explanations.

A step's record names the layer that the step made, or says that it made none, and lists the parts of its key, so that a
later miss can be told by what differs. A record binds nothing: where its layer was collected, the step is run again.
`last` finds the newest key of what a person would call the same step. Whoever carries out a step holds
`build/locks/HEX`, so that a step that two builds need at once is carried out by one of them.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Sequence
from dataclasses import dataclass

from lamina.errors import StoreError
from lamina.store.files import ensure_directory, read_if_present
from lamina.store.layers import read_layer
from lamina.store.layout import Layout
from lamina.store.record import Record, encode_record
from lamina.store.staging import Staging


@dataclass(frozen=True, slots=True)
class StepRecord:
    """The outcome of a step: `layer` is a name below `layers/`, or empty; `parts` are "name=value" texts.

    `created` is when it was carried out, as history shows it: a build from the cache alone gives the same image again.
    """

    key: str
    layer: str
    created: str
    parts: tuple[str, ...]


def find_step(staging: Staging, key: str) -> StepRecord | None:
    """Return what the step with this key made, its layer pinned; None where it is to be run."""
    record = read_step(staging.layout, key)
    if record is None or not record.layer:
        return record
    with staging.layout.publishing():
        staging.pin(f"layers/{record.layer}")
        try:
            read_layer(staging.layout, record.layer)
        except (OSError, StoreError):  # collected since
            return None
    return record


def read_step(layout: Layout, key: str) -> StepRecord | None:
    """Return the record of a key, whether or not its layer is still there.

    A damaged one counts as none: records are not synced, since all that a lost one costs is to run the step again.
    """
    path = layout.path("build", "steps", key)
    data = read_if_present(path)
    if data is None:
        return None
    try:
        fields = Record(data, path)
        return StepRecord(key, fields.text("layer", ""), fields.text("created"), tuple(fields.texts("part")))
    except StoreError:
        return None


def last_key(layout: Layout, identity: str) -> str:
    """Return the key that this step had when it ran last, or nothing."""
    return os.fsdecode(read_if_present(layout.path("build", "last", identity)) or b"").strip()


def write_step(staging: Staging, record: StepRecord, identities: Sequence[str]) -> None:
    """Keep what a step made, and that it was the newest of its identities."""
    layout = staging.layout
    for folder in ("steps", "last"):
        ensure_directory(layout.path("build", folder))
    data = encode_record([("layer", record.layer or None), ("created", record.created), ("part", record.parts)])
    staging.publish_file(f"build/steps/{record.key}", data, sync=False)
    for identity in identities:
        staging.publish_file(f"build/last/{identity}", f"{record.key}\n".encode(), sync=False)


class StepLock:
    """The right to carry out a step, one a key: freed by `close` or with the process. It keeps threads apart, too."""

    def __init__(self, layout: Layout, key: str) -> None:
        self._path = layout.path("build", "locks", key)
        self._fd = -1

    def take(self) -> bool:
        """Take the lock if nobody has it, and tell whether it is held now."""
        ensure_directory(os.path.dirname(self._path))
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Its last holder may have removed the file since it was opened: then others lock another one.
            if os.path.samestat(os.fstat(fd), os.stat(self._path)):
                self._fd, fd = fd, -1
        except (BlockingIOError, FileNotFoundError):
            pass
        finally:
            if fd >= 0:
                os.close(fd)
        return self._fd >= 0

    def close(self) -> None:
        """Let the lock go; may be repeated."""
        if self._fd >= 0:
            os.unlink(self._path)
            os.close(self._fd)
            self._fd = -1
