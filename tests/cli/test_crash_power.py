"""The power fails at a random moment of every command that changes a store: what was reported is on the disk."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.boxes import children_of, expect_gone
from tests.helpers.command import Lamina
from tests.helpers.disk import HARSH, Disk, disk
from tests.helpers.wait import until
from tests.helpers.work import NAMES, Bench, Task, bench, length_of, start

pytestmark = pytest.mark.requires("root", "loop", "overlay")

LONG = os.environ.get("HYPOTHESIS_PROFILE") == "long"
MOMENTS = 20 if LONG else 2
SEED = int(os.environ.get("CRASH_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 30)

#: With the second, files whose data was not synced come back with whatever the blocks held.
OPTIONS = {"ordered": HARSH, "writeback": f"{HARSH},data=writeback"} if LONG else {"ordered": HARSH}


@pytest.fixture(params=OPTIONS)
def drive(scratch: Path, request: pytest.FixtureRequest) -> Iterator[Disk]:
    with disk(scratch, size=192 << 20, options=OPTIONS[request.param]) as made:
        yield made


@pytest.fixture
def here(drive: Disk, scratch: Path) -> Iterator[Bench]:
    with bench(Lamina(drive.path / "store", cwd=scratch), scratch) as made:
        yield made


@pytest.mark.parametrize("name", NAMES)
def test_the_power_fails(here: Bench, drive: Disk, name: str) -> None:
    (task,) = (task for task in here.tasks if task.name == name)
    moments = random.Random(f"{SEED} {name}")
    length = length_of(here, task)
    for number in range(MOMENTS):
        kept = here.prepare(task)
        # The last time just after the command has said that it is done.
        moment = moments.uniform(0, length) if number < MOMENTS - 1 else 60.0
        done = _cut_after(here, drive, task, moment)
        try:
            here.look_after(task, kept, done=done)
        except AssertionError as error:
            error.add_note(f"{name} {'done' if done else 'cut'} after {moment:.4f} s, CRASH_SEED={SEED}")
            raise
    here.expect_nothing_more()


def _cut_after(here: Bench, drive: Disk, task: Task, seconds: float) -> bool:
    """Start the command and cut the power after a while, or at once when it has ended; tell whether it had."""
    process = start(here.lamina, task.words)
    family: set[int] = set()
    try:
        done = process.wait(timeout=seconds) == 0
    except subprocess.TimeoutExpired:
        done = False
        family = children_of(process.pid)
    drive.cut()
    process.kill()
    process.wait()
    expect_gone(family)
    until(lambda: _restarted(drive), "nobody uses the disk")
    return done


def _restarted(drive: Disk) -> bool:
    try:
        drive.restart()
    except AssertionError:  # the kernel has not let go of a mount of a killed container
        return False
    return True
