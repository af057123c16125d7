"""Random histories of one tree: operations as values, carried out by an actor of tests.helpers.unions."""

from __future__ import annotations

import stat
from functools import partial
from typing import Any

from hypothesis import strategies as st

from tests.helpers.union_machine import modes, paths, texts
from tests.helpers.unions import LONG_AGO, Actor, answer, remove_tree

Operation = tuple[Any, ...]

#: What opens the file that it names, and so would wait for the other end of a fifo.
_OPENING = ("append", "overwrite", "truncate")
_attributes = st.sampled_from(["user.one", "user.two"])

operations: st.SearchStrategy[Operation] = st.one_of(
    st.tuples(st.just("create"), paths, texts, modes),
    st.tuples(st.just("append"), paths, texts),
    st.tuples(st.just("overwrite"), paths, texts),
    st.tuples(st.just("truncate"), paths, st.integers(0, 9000)),
    st.tuples(st.just("mkdir"), paths, modes),
    st.tuples(st.just("rmdir"), paths),
    st.tuples(st.just("unlink"), paths),
    st.tuples(st.just("remove_tree"), paths),
    st.tuples(st.just("rename"), paths, paths, st.sampled_from([0, 0, 0, 2])),
    st.tuples(st.just("rename"), paths, paths, st.just(0)),
    st.tuples(st.just("link"), paths, paths),
    st.tuples(st.just("symlink"), paths, paths),
    st.tuples(st.just("mkfifo"), paths),
    st.tuples(st.just("chmod"), paths, modes),
    st.tuples(st.just("utime"), paths, st.integers(0, LONG_AGO)),
    st.tuples(st.just("setxattr"), paths, _attributes, st.sampled_from([b"", b"v"])),
    st.tuples(st.just("removexattr"), paths, _attributes),
)
histories = st.lists(operations, min_size=1, max_size=25)


def play(actor: Actor, history: list[Operation]) -> None:
    """Carry the operations out in order; one that fails has happened, too."""
    for name, *arguments in history:
        if name in _OPENING and _blocks(actor, arguments[0]):
            continue
        operation = partial(remove_tree, actor) if name == "remove_tree" else getattr(actor, name)
        answer(partial(operation, *arguments))


def _blocks(actor: Actor, path: str) -> bool:
    """Tell whether opening would wait (a fifo) or leave the tree (a symbolic link)."""
    parts = path.split("/")
    for end in range(1, len(parts) + 1):
        kind, found = answer(partial(actor.lstat, "/".join(parts[:end])))
        if kind == "gives" and (stat.S_ISFIFO(found.st_mode) or stat.S_ISLNK(found.st_mode)):
            return True
    return False
