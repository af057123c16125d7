"""Merge: the upper is folded into the topmost layer, which then shows what both did; the upper ends empty.

First the upper is flattened and hard links are completed, each step of which leaves it as it was seen. Then the plan is
written to a journal, and carried out. From the journal on neither the kernel nor our union mounts the upper, until the
merge is finished: by the same call, or after an interruption by the next one, which finds the journal and carries on.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Sequence
from contextlib import suppress

from lamina.errors import Conflict, InvalidInput
from lamina.overlay.format import REDIRECTS
from lamina.overlay.in_use import lock
from lamina.overlay.strange import refuse_features
from lamina.overlay.union import merge as merged
from lamina.overlay.union.branch import DT_DIR, join
from lamina.overlay.union.node import Found, Listing
from lamina.overlay.union.upper import INDEX
from lamina.overlay.upper import fold
from lamina.overlay.upper.flatten import plan_flatten, plan_names
from lamina.overlay.upper.fold import KINDS, STAGE, Adopt, Erase, FoldStep, Hide, MakeDirectory, Put
from lamina.overlay.upper.folders import Folder, folders
from lamina.overlay.upper.steps import Step, carry_out, drop_attribute, set_times, sync
from lamina.overlay.upper.stopped import JOURNAL, Stopped

_VERSION = 1
_NEW = b"work/#merge"  # the journal while it is written: the next mount removes what stands there
_INCOMPAT = b"work/incompat"


def plan_merge(room: Stopped) -> list[Step]:
    """Return what a merge will do: the rest of one that was interrupted, or all of a new one."""
    if room.is_merging():
        return list(_read_journal(room))
    return [*plan_flatten(room), *plan_names(room), *_plan_fold(room)]


def merge(room: Stopped) -> None:
    """Merge the upper into the topmost layer, or finish a merge that was interrupted.

    Conflict where the topmost layer is in use.
    """
    low = lock(room.overlay.layers[-1])
    try:
        if not room.is_merging():
            refuse_features(room.work.proc)
            carry_out([*plan_flatten(room), *plan_names(room)], room)
            _write_journal(room, _plan_fold(room))
        carry_out(_read_journal(room), room)
        _finish(room)
    finally:
        os.close(low)


def _plan_fold(room: Stopped) -> list[FoldStep]:
    """Return the steps that fold the upper in once it is flattened, be it flattened yet or not."""
    plan: list[FoldStep] = []
    firsts: dict[tuple[int, int], bytes] = {}
    open_folders: list[Folder] = []
    for folder in folders(room):
        while open_folders and not folder.path.startswith(_prefix(open_folders[-1].path)):
            plan.append(_adopt(room, open_folders.pop()))
        if open_folders:
            plan += _make_directory(room, open_folders[-1], folder)
        open_folders.append(folder)
        plan += _fold_folder(room, folder, firsts)
    while open_folders:
        plan.append(_adopt(room, open_folders.pop()))
    return plan


def _prefix(path: bytes) -> bytes:
    return path + b"/" if path else b""


def _adopt(room: Stopped, folder: Folder) -> Adopt:
    st = room.upper.stat(folder.path)
    return Adopt(folder.path, st.st_atime_ns, st.st_mtime_ns)


def _is_in_low(room: Stopped, folder: Folder) -> bool:
    """Tell whether the topmost layer has a directory that this one is merged with at the same path."""
    if not folder.merged or folder.redirect:
        return False
    top = folder.merged[0]
    return top.branch is room.low and top.path == folder.path


def _rest(room: Stopped, folder: Folder) -> Listing:
    """Return what the layers below the topmost one show in the directory."""
    if folder.redirect:  # which is opaque once it is flattened
        return merged.list_places(None, [])
    return merged.list_places(None, [place for place in folder.merged if place.branch is not room.low])


def _make_directory(room: Stopped, parent: Folder, folder: Folder) -> list[FoldStep]:
    if _is_in_low(room, folder):
        return []
    # Else a component of the path may be anything in the layer, even a link out of it.
    there = fold.lstat(room.low, folder.path) if _is_in_low(room, parent) else None
    name = folder.path.rpartition(b"/")[2]
    below = _rest(room, parent).get(name)
    hides = not folder.merged or bool(folder.redirect)
    opaque = isinstance(below, Found) and below.kind == DT_DIR and hides
    return [MakeDirectory(folder.path, there.st_ino if there else 0, opaque)]


def _fold_folder(room: Stopped, folder: Folder, firsts: dict[tuple[int, int], bytes]) -> list[FoldStep]:
    plan: list[FoldStep] = []
    kept = _is_in_low(room, folder)
    rest = _rest(room, folder) if folder.scan.whiteouts else merged.list_places(None, [])
    for name, entry in sorted(folder.scan.whiteouts.items()):
        path, mark = join(folder.path, name), join(folder.path, entry)
        there = kept and fold.lstat(room.low, path) is not None
        if name in rest and name not in folder.scan.entries:
            plan.append(Hide(path, mark, there))
        else:
            plan.append(Erase(path, mark, there and name not in folder.scan.entries))
    for name, kind in sorted(folder.scan.entries.items()):
        if kind != DT_DIR:
            path = join(folder.path, name)
            st = room.upper.stat(path)
            first = b""
            if st.st_nlink > 1:
                first = firsts.setdefault((st.st_dev, st.st_ino), path)
            there = kept and fold.lstat(room.low, path) is not None
            plan.append(Put(path, b"" if first == path else first, there))
    return plan


# The journal.


def _write_journal(room: Stopped, plan: Sequence[FoldStep]) -> None:
    steps = [{"step": type(step).__name__, **_plain(step)} for step in plan]
    document = {
        "version": _VERSION,
        "lower": os.path.realpath(room.overlay.layers[-1]),
        "inode": os.fstat(room.low.fd).st_ino,
        "steps": steps,
    }
    for directory in (b"work", _INCOMPAT):
        try:
            os.mkdir(directory, 0o700, dir_fd=room.work.fd)
        except FileExistsError:
            os.chmod(directory, 0o700, dir_fd=room.work.fd)
    with suppress(FileNotFoundError):
        os.unlink(_NEW, dir_fd=room.work.fd)
    with open(room.work.open(_NEW, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
        json.dump(document, file)
        file.flush()
        os.fsync(file.fileno())
    os.rename(_NEW, JOURNAL, src_dir_fd=room.work.fd, dst_dir_fd=room.work.fd)
    sync(room.work)


def _plain(step: FoldStep) -> dict[str, object]:
    fields = {field.name: getattr(step, field.name) for field in dataclasses.fields(step)}
    return {name: os.fsdecode(value) if isinstance(value, bytes) else value for name, value in fields.items()}


def _read_journal(room: Stopped) -> list[FoldStep]:
    """Return the steps of the journal. Conflict where it is of a merge into another directory."""
    with open(room.work.open(JOURNAL, os.O_RDONLY), encoding="ascii") as file:
        document = json.load(file)
    if document["version"] != _VERSION:
        raise InvalidInput("finish the merge of", room.overlay.upper, "a newer lamina began it")
    if document["inode"] != os.fstat(room.low.fd).st_ino:
        reason = f"it was interrupted, and went into {document['lower']}"
        raise Conflict("merge into", room.overlay.layers[-1], reason)
    return [_step(dict(fields)) for fields in document["steps"]]


def _step(fields: dict[str, object]) -> FoldStep:
    kind = KINDS[str(fields.pop("step"))]
    return kind(**{name: os.fsencode(value) if isinstance(value, str) else value for name, value in fields.items()})


def _finish(room: Stopped) -> None:
    """Leave nothing of the merge but its result. What is on disk before the journal goes is all of it."""
    st = room.low.stat(b"")
    room.low.remove(STAGE)
    set_times(room.low, b"", st.st_atime_ns, st.st_mtime_ns)
    for name in (REDIRECTS, b"impure", b"origin", b"opaque"):
        drop_attribute(room.upper, b"", f"{room.space}{name.decode()}")
    with suppress(FileNotFoundError):
        for name in room.work.names(INDEX):  # its files are the layer's now
            room.work.remove(join(INDEX, name))
    sync(room.low)
    sync(room.work)
    os.unlink(JOURNAL, dir_fd=room.work.fd)
    with suppress(OSError):  # another feature stands there
        os.rmdir(_INCOMPAT, dir_fd=room.work.fd)
