"""What RUN's cache mounts hold, taken along with a build cache and brought back where a store has none of that name."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lamina.build.cached import Elsewhere, Say
from lamina.build.pipes import stream_of
from lamina.errors import LaminaError
from lamina.events import ignore
from lamina.layer import jobs
from lamina.store import making
from lamina.store.files import ensure_directory, rename_directory
from lamina.store.layers import LayerRecord

if TYPE_CHECKING:
    from lamina.ids.worker import Worker
    from lamina.store.staging import Staging


def pack_mounts(staging: Staging, worker: Worker, names: Iterable[str]) -> list[tuple[str, LayerRecord]]:
    """Return a layer, pinned, with the files of each cache mount that the store has by now."""
    layout = staging.layout
    found = []
    for name in sorted(names):
        path = layout.path("build", "cache", name)
        if os.path.isdir(path):
            with _held(path):
                found.append((name, making.apply_directory(staging, worker, path, on_event=ignore)))
    return found


def unpack_mounts(staging: Staging, worker: Worker, caches: Iterable[Elsewhere], say: Say) -> None:
    """Make those cache mounts that the caches have and the store has not; what cannot be had is told."""
    for cache in caches:
        if not cache.place.cache_mounts:
            continue
        for name, layer in cache.document.mounts:
            try:
                _unpack(staging, worker, cache, name, layer)
            except (LaminaError, OSError) as error:
                say(f"no cache mount from {cache.place}: {error}")


def _unpack(staging: Staging, worker: Worker, cache: Elsewhere, name: str, diff_id: str) -> None:
    layout = staging.layout
    target = layout.path("build", "cache", name)
    if os.path.isdir(target):
        return
    directory = staging.new_path()
    try:
        with stream_of(lambda out: cache.write_layer(diff_id, out)) as stream:
            worker.call(
                jobs.apply_layer,
                stream=stream,
                staging=directory,
                below=[],
                owners_below=[],
                space=making.space_of(layout),
                single_id=layout.single_id,
                expected_diff_id=diff_id,
                on_event=ignore,
            )
        ensure_directory(os.path.dirname(target))
        worker.call(adopt_tree, source=os.path.join(directory, "tree"), target=target)
    finally:
        worker.call(jobs.remove_tree, path=directory)


def adopt_tree(*, source: str, target: str) -> None:
    """Rename a directory, whoever owns it, to a name that nothing has; a job. What is there already stays."""
    rename_directory(source, target)


@contextmanager
def _held(path: str) -> Iterator[None]:
    """Keep those away who lock the cache, for a `with` block."""
    fd = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
