"""Commands that change a store, and what must hold of it when one of them was cut short at any moment.

A `Task` is one command with the state that it starts from. `Bench` carries tasks out, and `look_after` what a task has
left: every name that was reported before it is intact, `store check` finds nothing, `prune` leaves nothing but what
names explain, and the same command then succeeds.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.helpers.command import Lamina, program
from tests.helpers.images import layer_bytes
from tests.helpers.layouts import Made
from tests.helpers.registries import own_registry
from tests.helpers.rootfs import make_rootfs
from tests.helpers.stores import things

#: Programs that the tasks run.
_PROGRAMS = ("sh", "true", "touch", "mkdir", "rm")
BASE = "base:1"
NAMES = ("import", "load", "pull", "tag", "build", "run", "run --rm", "commit", "rm", "rmi", "prune")
_BEHIND = "index.json: it does not show the references"


@dataclass(frozen=True, slots=True)
class Task:
    """A command. `touches` are the names of images and containers that it makes or removes.

    `makes` says whether these names are there when it has succeeded. `before` are commands that make the state from
    which it starts, `undo` those that take away what it made: any of them may find nothing to do.
    """

    name: str
    words: tuple[str, ...]
    touches: tuple[str, ...] = ()
    makes: bool = True
    before: tuple[tuple[str, ...], ...] = ()
    undo: tuple[tuple[str, ...], ...] = ()


def _unname(*names: str) -> tuple[tuple[str, ...], ...]:
    return tuple(("rmi", "--force", name) for name in names)


class Bench:
    """A store with an image that stays, inputs for all tasks, and the tasks."""

    def __init__(self, lamina: Lamina, scratch: Path, host: str) -> None:
        self.lamina = lamina
        make_rootfs(scratch / "rootfs", _PROGRAMS)
        lamina("import", scratch / "rootfs", BASE)
        (scratch / "context").mkdir()
        (scratch / "context" / "data").write_bytes(os.urandom(100_000))
        (scratch / "context" / "Dockerfile").write_text(
            f"FROM {BASE}\nCOPY data /data\nRUN mkdir /made && touch /made/file\nENV A=b\nRUN rm /data\n"
        )
        made = Made()
        made.list(made.image(layer_bytes(1), layer_bytes(2)), "docker.io/team/image:1")
        layout = made.write(scratch / "layout")
        self.tasks = _tasks(scratch, layout, f"{host}/team/image:1")

    def state(self) -> dict[str, str]:
        """Return every name of an image or container, with what it names."""
        images = json.loads(self.lamina("images", "--format", "json").stdout)
        boxes = json.loads(self.lamina("ps", "--all", "--format", "json").stdout)
        return {image["Name"]: image["Id"] for image in images if image["Name"]} | {
            box["Name"]: box["Id"] for box in boxes
        }

    def prepare(self, task: Task) -> dict[str, str]:
        """Make what the task starts from; returns the names that there are, and that it must not touch."""
        for words in task.before:
            self.lamina(*words)
        return {name: what for name, what in self.state().items() if name not in task.touches}

    def look_after(self, task: Task, kept: dict[str, str], *, done: bool) -> None:
        """Check what the task has left, and carry it out again. `done` tells whether it had said that it is done."""
        state = self.state()
        if done:
            assert all((name in state) == task.makes for name in task.touches), "what was reported is not so"
        assert {name: state.get(name) for name in kept} == kept, "a name that was reported is lost"
        assert set(state) <= {*kept, *task.touches}, "names that nobody gave"
        # The index repeats the references for others, and is written after them: until then it is behind.
        assert self.lamina("store", "check", status=None).stdout in ("", f"{_BEHIND}\n")
        self.lamina("prune", "--force")
        assert self.lamina("store", "check").stdout == ""
        assert os.listdir(self.lamina.store / "staging") == []
        for words in (*task.undo, *task.before):
            self.lamina(*words, status=None)
        self.lamina(*task.words)
        assert all((name in self.state()) == task.makes for name in task.touches)
        self.reset(task)

    def reset(self, task: Task) -> None:
        """Take away what the task made."""
        for words in task.undo:
            self.lamina(*words, status=None)
        self.lamina("prune", "--force")

    def expect_nothing_more(self) -> None:
        """Fail where the store holds more than its one image explains."""
        for words in (("rm", "--all", "--force"), ("prune", "--force")):
            self.lamina(*words)
        for name in self.state():
            if name != BASE:
                self.lamina("rmi", "--force", name)
        self.lamina("prune", "--force")
        assert self.lamina("store", "check").stdout == ""
        (image,) = json.loads(self.lamina("inspect", BASE).stdout)
        layers = {f"layers/{Path(layer['Directory']).parent.name}" for layer in image["Layers"]}
        found = things(self.lamina.store)
        assert {thing for thing in found if thing.startswith("layers/")} == layers
        assert len([thing for thing in found if thing.startswith("blobs/")]) == 2  # manifest and config
        assert os.listdir(self.lamina.store / "containers") == os.listdir(self.lamina.store / "names") == []


def _tasks(scratch: Path, layout: Path, remote: str) -> list[Task]:
    loaded = "team/image:1"
    run = ("run", "--name", "box", BASE, "sh", "-c", "mkdir /made && touch /made/file && rm /bin/true")
    remove_box = ("rm", "--force", "box")
    return [
        Task("import", ("import", str(scratch / "rootfs"), "new:1"), ("new:1",), undo=_unname("new:1")),
        Task("load", ("load", "-i", str(layout)), (loaded,), undo=_unname(loaded)),
        Task("pull", ("pull", remote), (remote,), undo=_unname(remote)),
        Task("tag", ("tag", BASE, "again:1"), ("again:1",), undo=_unname("again:1")),
        Task("build", ("build", "-t", "built:1", str(scratch / "context")), ("built:1",), undo=_unname("built:1")),
        Task("run", run, ("box",), undo=(remove_box,)),
        Task("run --rm", (run[0], "--rm", *run[1:]), ("box",), makes=False, undo=(remove_box,)),
        Task("commit", ("commit", "box", "kept:1"), ("kept:1",), before=(run,), undo=(*_unname("kept:1"), remove_box)),
        Task("rm", remove_box, ("box",), makes=False, before=(run,), undo=(remove_box,)),
        Task(
            "rmi", ("rmi", loaded), (loaded,), makes=False, before=(("load", "-i", str(layout)),), undo=_unname(loaded)
        ),
        Task(
            "prune",
            ("prune", "--force"),
            before=(("load", "-i", str(layout)), ("tag", BASE, loaded), ("rmi", loaded)),
        ),
    ]


@contextmanager
def bench(lamina: Lamina, scratch: Path) -> Iterator[Bench]:
    """Return a bench, with a registry that serves for a `with` block."""
    made = Made()
    image = made.image(layer_bytes(3), layer_bytes(4))
    with own_registry(made, {"1": image["digest"]}) as (host, _):
        yield Bench(lamina, scratch, host)


def start(lamina: Lamina, words: tuple[str, ...]) -> subprocess.Popen[bytes]:
    """Start the command as the leader of a session, so that whatever is left of it can be found."""
    return subprocess.Popen(
        [*program(), *words],
        cwd=lamina.cwd,
        env=lamina.environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def length_of(here: Bench, task: Task) -> float:
    """Return how many seconds the task takes when nobody disturbs it."""
    here.prepare(task)
    before = time.monotonic()
    here.lamina(*task.words)
    length = time.monotonic() - before
    here.reset(task)
    return length
