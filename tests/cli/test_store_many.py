"""Many processes at random on one store, killed now and then: at the end it is whole, and names explain all."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.boxes import make_image, read_line, running
from tests.helpers.command import Lamina
from tests.helpers.work import Bench, bench, start

pytestmark = pytest.mark.requires("overlay", "userns")

SECONDS = 300.0 if os.environ.get("HYPOTHESIS_PROFILE") == "long" else 15.0
SEED = int(os.environ.get("CRASH_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 30)
PROCESSES = 8
BASE = "base:1"


@pytest.fixture
def here(lamina: Lamina, scratch: Path) -> Iterator[Bench]:
    with bench(lamina, scratch) as made:
        yield made


def _words(dice: random.Random, scratch: Path) -> tuple[str, ...]:
    """Return a command that may succeed, or meet what another one did."""
    image, box = f"many:{dice.randrange(6)}", f"box{dice.randrange(6)}"
    known = dice.choice((BASE, image))
    write = f"echo {dice.random()} >/changed"
    return dice.choice((
        ("import", str(scratch / "rootfs"), image),
        ("run", "--name", box, known, "sh", "-c", write),
        ("run", "--rm", known, "sh", "-c", write),
        ("run", "--rm", "--commit", image, BASE, "sh", "-c", write),
        ("commit", box, image),
        ("tag", known, f"many:{dice.randrange(6)}"),
        ("build", "-t", image, str(scratch / "context")),
        ("load", "-i", str(scratch / "layout")),
        ("rmi", "--force", image),
        ("rm", "--force", box),
        ("prune", "--force"),
    ))  # fmt: skip


def test_many_at_random(here: Bench, scratch: Path) -> None:
    dice = random.Random(SEED)
    lamina = here.lamina
    active: list[tuple[subprocess.Popen[bytes], tuple[str, ...]]] = []
    statuses: dict[tuple[str, int], int] = {}
    deadline = time.monotonic() + SECONDS
    while active or time.monotonic() < deadline:
        if len(active) < PROCESSES and time.monotonic() < deadline:
            words = _words(dice, scratch)
            active.append((start(lamina, words), words))
            continue
        process, words = active.pop(0)
        if dice.random() < 0.1:
            process.kill()
        status = process.wait(timeout=120)
        statuses[words[0], status] = statuses.get((words[0], status), 0) + 1
    assert {status for _, status in statuses} <= {0, 125, -signal.SIGKILL}, f"{statuses}, CRASH_SEED={SEED}"
    assert all(statuses.get((name, 0)) for name in ("import", "run", "tag", "prune")), statuses
    # Nothing was reported and then lost, and each name can be used.
    lamina("prune", "--force")
    assert lamina("store", "check").stdout == "", f"CRASH_SEED={SEED}"
    assert os.listdir(lamina.store / "staging") == []
    for name in here.state():
        if name.startswith("many:"):
            lamina("run", "--rm", name, "true")
    _expect_explained(lamina)
    here.expect_nothing_more()


def _expect_explained(lamina: Lamina) -> None:
    """Fail where the store holds a layer that no image and no container names."""
    images = json.loads(lamina("images", "--all", "--format", "json").stdout)
    boxes = json.loads(lamina("ps", "--all", "--format", "json").stdout)
    named = sorted({image["Id"] for image in images} | {box["Name"] for box in boxes})
    told = json.loads(lamina("inspect", *named).stdout) if named else []
    layers = {layer["Directory"].split("/")[-2] for thing in told for layer in thing.get("Layers", [])}
    layers |= {path.split("/")[-2] for thing in told if "GraphDriver" in thing
               for path in thing["GraphDriver"]["Data"]["LowerDirs"]}  # fmt: skip
    assert set(os.listdir(lamina.store / "layers")) <= layers
    usage = json.loads(lamina("store", "du", "--format", "json").stdout)
    assert sum(kind["Reclaimable"] for kind in usage["Kinds"]) == 0, usage
    assert usage["Size"] >= sum(kind["Size"] for kind in usage["Kinds"])


def test_nobody_waits_for_a_users_command(lamina: Lamina, scratch: Path) -> None:
    image = make_image(lamina, scratch)
    words = ("run", "-i", "--name", "long", image, "sh", "-c", "echo up; cat")
    read, write = os.pipe()
    with running(lamina, *words, stdin=read) as process:
        os.close(read)
        read_line(process, "up")
        # Each of these would wait for ever, were a lock of the store held.
        lamina("import", scratch / "rootfs", "other:1", seconds=30)
        lamina("tag", "other:1", "other:2", seconds=30)
        lamina("run", "--name", "short", image, "true", seconds=30)
        lamina("commit", "short", "short:1", seconds=30)
        lamina("rmi", "other:1", seconds=30)
        lamina("rm", "short", seconds=30)
        lamina("prune", "--force", seconds=30)
        lamina("store", "check", seconds=30)
        assert "long" in lamina("ps").stdout
        os.close(write)
        assert process.wait(timeout=30) == 0
    assert lamina("diff", "long").stdout == ""
