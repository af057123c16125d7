"""What changed, for people: docker-diff lines, and the counts of a layer."""

from __future__ import annotations

import stat
from collections.abc import Iterator

from lamina.layer.lower import Found, Lower
from lamina.layer.walk import Change, Opaque, Visible, Walk, Whiteout, same_metadata


def changed_paths(
    uppers: list[tuple[bytes, str]], below: list[str], ignore: frozenset[bytes]
) -> list[tuple[str, bytes]]:
    """Return (kind, path) for each change, sorted by path: A for added, C for changed, D for deleted.

    A directory in which something changed is changed; a deleted directory is one line. Paths begin with a slash.
    """
    lines: dict[bytes, str] = {}
    with Lower(below) as lower:
        for prefix, directory in uppers:
            for change in Walk(directory, prefix, lower, ignore).changes():
                for path, kind in _lines(change):
                    lines[path] = kind
    return [(kind, b"/" + path) for path, kind in sorted(lines.items())]


def _lines(change: Change) -> Iterator[tuple[bytes, str]]:
    if isinstance(change, Visible):
        if change.name != b"." and not stat.S_ISSOCK(change.st.st_mode):
            yield change.path, "A" if change.base is None else "C"
    elif isinstance(change, Whiteout):
        yield change.path, "D"
    else:
        for found in change.hidden:
            yield found.path, "D"


def summary(tree: str, below: list[str]) -> dict[str, int]:
    """Return what the layer in `tree` adds, changes and hides of the layers below, and its size.

    `added`, `changed` and `hidden` count names; a directory that only holds changes counts as none of them. `bytes` is
    the length of the regular files, `entries` the number of all names.
    """
    counts = {"added": 0, "changed": 0, "hidden": 0, "bytes": 0, "entries": 0}
    inodes: set[tuple[int, int]] = set()
    with Lower(below) as lower:
        for change in Walk(tree, b"", lower, frozenset()).changes():
            if isinstance(change, Visible):
                if change.name != b".":
                    _count(change, counts, inodes)
            else:
                counts["hidden"] += len(_hidden(change))
    return counts


def _count(visible: Visible, counts: dict[str, int], inodes: set[tuple[int, int]]) -> None:
    counts["entries"] += 1
    st = visible.st
    if visible.base is None:
        counts["added"] += 1
    elif not visible.is_dir or not same_metadata(visible, visible.base.st):
        counts["changed"] += 1
    if stat.S_ISREG(st.st_mode):
        if st.st_nlink > 1:
            if (st.st_dev, st.st_ino) in inodes:
                return
            inodes.add((st.st_dev, st.st_ino))
        counts["bytes"] += st.st_size


def _hidden(change: Whiteout | Opaque) -> tuple[Found, ...]:
    return (change.base,) if isinstance(change, Whiteout) else change.hidden
