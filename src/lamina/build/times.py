"""Layers with no time after SOURCE_DATE_EPOCH: made anew from those that a build made, once for each and kept.

The cache of steps knows nothing of this: what a step made stays as it is, so that another epoch runs nothing again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lamina.build.keys import Key
from lamina.build.pipes import stream_of
from lamina.events import ignore
from lamina.ids.worker import Fd
from lamina.layer import jobs
from lamina.store import making
from lamina.store.layers import read_layer
from lamina.store.steps import StepRecord, find_step, write_step

if TYPE_CHECKING:
    from lamina.ids.worker import Worker
    from lamina.store.staging import Staging


def clamp_times(
    staging: Staging, worker: Worker, base: Sequence[str], layers: Sequence[str], latest: int
) -> tuple[str, ...]:
    """Return what stands for `layers`, all over the layers `base`, with no time in it after `latest` (nanoseconds).

    A layer that has none stays itself. All that are returned are pinned.
    """
    below, moved = list(base), False
    for name in layers:
        clamped = _clamped(staging, worker, name, below, moved=moved, latest=latest)
        moved = moved or clamped != name
        below.append(clamped)
    return tuple(below[len(base) :])


def _clamped(staging: Staging, worker: Worker, name: str, below: Sequence[str], *, moved: bool, latest: int) -> str:
    layout = staging.layout
    # A layer that leaves out parents is another one over other layers.
    over = "" if read_layer(layout, name).complete else " ".join(below)
    key = Key((("times", str(latest)), ("layer", name), ("over", over))).text
    known = find_step(staging, key)
    if known is not None:
        return known.layer
    directory = layout.path("layers", name)
    if (over and moved) or worker.call(jobs.is_later, layer=directory, latest=latest):
        made = _retimed(staging, worker, directory, below, latest)
    else:
        made = name
    write_step(staging, StepRecord(key, made, "", ()), ())
    return made


def _retimed(staging: Staging, worker: Worker, directory: str, below: Sequence[str], latest: int) -> str:
    def write(out: Fd) -> None:
        worker.call(jobs.retime_layer, layer=directory, latest=latest, out=out)

    with stream_of(write) as stream:
        return making.apply(staging, worker, stream, below, on_event=ignore).name
