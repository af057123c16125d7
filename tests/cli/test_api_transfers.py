"""What `load`, `pull` and `push` of the API report while they go on."""

from __future__ import annotations

import hashlib
import os
import random
import tarfile
from io import BytesIO
from pathlib import Path
from threading import Lock

import pytest

import lamina
from lamina.events import Event
from tests.helpers.images import add, layer_bytes
from tests.helpers.layouts import Made
from tests.helpers.registries import own_registry


class _Told:
    """A callback that keeps what it is told, and takes no two events at once."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._lock = Lock()

    def __call__(self, event: Event) -> None:
        assert self._lock.acquire(blocking=False)
        hashlib.sha256(bytes(1 << 22))  # other threads go on meanwhile
        self.events.append(event)
        self._lock.release()

    def expect(self, task: str, sizes: list[int]) -> None:
        """Expect to have been told of blobs of these sizes, of each with growing numbers up to its end."""
        assert {event.task for event in self.events} == {task}
        subjects = {event.subject for event in self.events}
        ends = []
        for subject in subjects:
            events = [event for event in self.events if event.subject == subject]
            assert [event.finished for event in events] == [False] * (len(events) - 1) + [True], events
            done = [event.done for event in events if not event.text]
            assert done == sorted(done), events
            assert all(event.done <= event.total for event in events if event.total), events
            ends.append(events[-1].done)
            assert events[-1].total == events[-1].done
        assert sorted(ends) == sorted(sizes)


def _made() -> tuple[Made, list[int], str]:
    """Return an image of a large layer and two small ones, the sizes of their blobs, and the manifest's digest."""
    data = BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        add(tar, "large", random.Random(1).randbytes(3 << 20))
    made = Made()
    before = made.image(layer_bytes(1), data.getvalue(), layer_bytes(3))
    made.list(before, "docker.io/a/b:1")
    sizes = [len(blob) for blob in made.blobs.values() if blob[:2] == b"\x1f\x8b"]
    return made, sizes, before["digest"]


def test_load_tells_how_far_each_layer_is(store: lamina.Store, scratch: Path) -> None:
    made, sizes, _ = _made()
    told = _Told()
    store.load(made.write(scratch / "layout"), on_event=told)
    told.expect("load", sizes)


def test_pull_and_push_tell_how_far_each_layer_is(store: lamina.Store) -> None:
    made, sizes, digest = _made()
    with own_registry(made, {"1": digest}) as (host, _):
        told = _Told()
        image = store.pull(f"{host}/a/b:1", on_event=told)
        told.expect("pull", sizes)
        large = [event for event in told.events if event.total == max(sizes)]
        assert len({event.done for event in large}) > 3, large  # not only its end
    with own_registry(Made(), {}) as (host, _):
        told = _Told()
        store.push(image, f"{host}/a/c:1", on_event=told)
        told.expect("push", [*sizes, len(made.blobs[image.id])])


class _Enough(Exception):
    pass


@pytest.mark.parametrize("after", [1, 3])
def test_a_callback_may_end_it(store: lamina.Store, after: int) -> None:
    made, _, digest = _made()
    events: list[Event] = []

    def stop(event: Event) -> None:
        events.append(event)
        if len(events) >= after:
            raise _Enough

    with own_registry(made, {"1": digest}) as (host, _), pytest.raises(_Enough):
        store.pull(f"{host}/a/b:1", on_event=stop)
    assert store.images() == []
    store.prune()
    assert os.listdir(store.layout.path("layers")) == []
