"""Random layers and random operations, carried out by two actors that must not differ in anything."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from tests.helpers.unions import LONG_AGO, Actor, Item, answer, inodes, remove_tree, snapshot

_NAMES = ("a", "b", "c")
names = st.sampled_from(_NAMES)
paths = st.lists(names, min_size=1, max_size=3).map("/".join)
modes = st.sampled_from([0o644, 0o600, 0o755, 0o2755, 0o1777, 0o4711])
texts = st.sampled_from(["", "x", "some text\n", "y" * 5000])
items = st.builds(
    Item,
    path=paths,
    kind=st.sampled_from(["file", "file", "dir", "dir", "opaque", "link", "fifo", "whiteout", "hard"]),
    text=st.one_of(texts.filter(lambda text: len(text) < 20), paths),
    mode=st.sampled_from([0o644, 0o640, 0o755]),
).map(lambda item: Item(item.path, item.kind, item.text or "a", item.mode))
layer_lists = st.lists(st.lists(items, max_size=8), min_size=1, max_size=3)


class Machine(RuleBasedStateMachine):
    """Does the same to two trees. A subclass sets up the actors in `start`, and ends in `finish`."""

    left: Actor
    right: Actor
    layers: list[Path]

    def start(self, layers: list[list[Item]]) -> None:
        raise NotImplementedError

    def lower_inodes(self) -> set[int]:
        """Return the inode numbers of the layers: what comes from them must have the same number in both."""
        return {
            os.lstat(os.path.join(folder, name)).st_ino
            for layer in self.layers
            for folder, directories, files in os.walk(layer)
            for name in (*directories, *files, ".")
        }

    @initialize(layers=layer_lists)
    def begin(self, layers: list[list[Item]]) -> None:
        self.start(layers)

    def both(self, operation: Callable[[Actor], Any]) -> None:
        left, right = answer(lambda: operation(self.left)), answer(lambda: operation(self.right))
        assert left == right

    @rule(path=paths, text=texts, mode=modes)
    def create(self, path: str, text: str, mode: int) -> None:
        self.both(lambda actor: actor.create(path, text, mode))

    @rule(path=paths, text=texts)
    def append(self, path: str, text: str) -> None:
        if not self._blocks(path):
            self.both(lambda actor: actor.append(path, text))

    @rule(path=paths, text=texts)
    def overwrite(self, path: str, text: str) -> None:
        if not self._blocks(path):
            self.both(lambda actor: actor.overwrite(path, text))

    @rule(path=paths, size=st.integers(0, 9000))
    def truncate(self, path: str, size: int) -> None:
        if not self._blocks(path):
            self.both(lambda actor: actor.truncate(path, size))

    def _blocks(self, path: str) -> bool:
        """Tell whether opening would wait (a fifo) or leave the tree (a symbolic link)."""
        for end in range(1, len(path) + 1):
            if end == len(path) or path[end] == "/":
                kind, found = answer(partial(self.left.lstat, path[:end]))
                if kind == "gives" and (stat.S_ISFIFO(found.st_mode) or stat.S_ISLNK(found.st_mode)):
                    return True
        return False

    @rule(path=paths, mode=modes)
    def mkdir(self, path: str, mode: int) -> None:
        self.both(lambda actor: actor.mkdir(path, mode))

    @rule(path=paths)
    def rmdir(self, path: str) -> None:
        self.both(lambda actor: actor.rmdir(path))

    @rule(path=paths)
    def unlink(self, path: str) -> None:
        self.both(lambda actor: actor.unlink(path))

    @rule(path=paths)
    def remove_tree(self, path: str) -> None:
        self.both(lambda actor: remove_tree(actor, path))

    @rule(old=paths, new=paths, flags=st.sampled_from([0, 0, 0, 1, 2]))
    def rename(self, old: str, new: str, flags: int) -> None:
        self.both(lambda actor: actor.rename(old, new, flags))

    @rule(old=paths, new=paths)
    def link(self, old: str, new: str) -> None:
        self.both(lambda actor: actor.link(old, new))

    @rule(to=paths, path=paths)
    def symlink(self, to: str, path: str) -> None:
        self.both(lambda actor: actor.symlink(to, path))

    @rule(path=paths)
    def mkfifo(self, path: str) -> None:
        self.both(lambda actor: actor.mkfifo(path))

    @rule(path=paths, mode=modes)
    def chmod(self, path: str, mode: int) -> None:
        self.both(lambda actor: actor.chmod(path, mode))

    @rule(path=paths, ns=st.integers(0, LONG_AGO))
    def utime(self, path: str, ns: int) -> None:
        self.both(lambda actor: actor.utime(path, ns))

    @rule(path=paths, name=st.sampled_from(["user.one", "user.two"]), value=st.sampled_from([b"", b"v", b"w" * 99]))
    def setxattr(self, path: str, name: str, value: bytes) -> None:
        self.both(lambda actor: actor.setxattr(path, name, value))

    @rule(path=paths, name=st.sampled_from(["user.one", "user.two"]))
    def removexattr(self, path: str, name: str) -> None:
        self.both(lambda actor: actor.removexattr(path, name))

    @invariant()
    def same_tree(self) -> None:
        if hasattr(self, "left"):
            assert snapshot(self.left) == snapshot(self.right)

    @invariant()
    def numbers(self) -> None:
        if not hasattr(self, "left"):
            return
        below = self.lower_inodes()
        left, right = inodes(self.left), inodes(self.right)
        assert {p: n for p, n in left.items() if n in below} == {p: n for p, n in right.items() if n in below}
        _unique(self.right, right)


def _unique(actor: Actor, numbers: dict[str, int]) -> None:
    seen: dict[int, list[str]] = {}
    for path, number in numbers.items():
        seen.setdefault(number, []).append(path)
    for same in seen.values():
        if len(same) > 1:
            links = {actor.lstat(path).st_nlink for path in same}
            assert links == {len(same)}, f"one number for {same}"


def run_machine(machine: type[Machine], *, examples: int, steps: int) -> None:
    """Run a machine that often and that long; as much more often as the profile asks for (`make test-long`)."""
    often = examples * max(settings().max_examples // 100, 1)
    run: Callable[..., object] = run_state_machine_as_test  # some versions of hypothesis leave it untyped
    run(machine, settings=settings(max_examples=often, stateful_step_count=steps, deadline=None))
