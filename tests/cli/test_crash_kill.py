"""SIGKILL at a random moment of every command that changes a store: nothing that was reported is lost."""

from __future__ import annotations

import os
import random
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.boxes import children_of, expect_gone
from tests.helpers.command import Lamina
from tests.helpers.work import NAMES, Bench, bench, length_of, start

pytestmark = pytest.mark.requires("overlay", "userns")

MOMENTS = 30 if os.environ.get("HYPOTHESIS_PROFILE") == "long" else 4
SEED = int(os.environ.get("CRASH_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 30)


@pytest.fixture
def here(lamina: Lamina, scratch: Path) -> Iterator[Bench]:
    with bench(lamina, scratch) as made:
        yield made


@pytest.mark.parametrize("name", NAMES)
def test_killed_at_a_random_moment(here: Bench, name: str) -> None:
    (task,) = (task for task in here.tasks if task.name == name)
    moments = random.Random(f"{SEED} {name}")
    length = length_of(here, task)
    for _ in range(MOMENTS):
        kept = here.prepare(task)
        moment = moments.uniform(0, length)
        killed = _kill_after(here.lamina, task.words, moment)
        try:
            here.look_after(task, kept, done=not killed)
        except AssertionError as error:
            error.add_note(f"{name} {'killed' if killed else 'ended'} after {moment:.4f} s, CRASH_SEED={SEED}")
            raise
    here.expect_nothing_more()


def _kill_after(lamina: Lamina, words: tuple[str, ...], seconds: float) -> bool:
    """Start the command, kill its first process after a while, and see that nothing of it survives."""
    process = start(lamina, words)
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.kill(process.pid, signal.SIGSTOP)  # so that it has no children that are not in the list
        family = children_of(process.pid)
        process.kill()
        process.wait()
        expect_gone(family.union(*map(children_of, family)))
        return True
    return False
