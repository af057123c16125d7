"""Removing a container. Apart from what removes images, since every `run --rm` loads it."""

from __future__ import annotations

import os

from lamina.errors import NotFound
from lamina.layer import jobs
from lamina.layer.remove import remove_tree
from lamina.store.containers import hold_container, take_away
from lamina.store.files import sync_directory
from lamina.store.staging import Staging

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lamina.ids.worker import Worker
    from lamina.store.containers import ContainerRecord
    from lamina.store.layout import Layout


def remove_container(layout: Layout, worker: Worker, record: ContainerRecord, *, durable: bool) -> None:
    """Remove a container and what it changed; Conflict while it runs. One that is gone already is no error.

    Without `durable`, for one that was never brought to disk, nothing is synced.
    """
    with Staging(layout) as staging:
        try:
            held = hold_container(layout, record)
        except NotFound:
            return
        try:
            with layout.publishing():
                moved = take_away(staging, record)
                if durable:  # or it would be there again when the power fails
                    sync_directory(layout.path("names"))
                    sync_directory(layout.path("containers"))
        finally:
            os.close(held)
        if moved is not None:
            _remove(worker, moved)


def _remove(worker: Worker, path: str) -> None:
    """Remove a tree in this process, to whom most of them belong: a request takes a process, and perhaps an id map."""
    try:
        remove_tree(path)
    except PermissionError:
        worker.call(jobs.remove_tree, path=path)
