"""Vacuum: what equals the layers below is dropped from the upper, and the mount shows the same with less.

Dropped are copies that were changed back or never changed, directories that were only copied up to hold what is gone
again, and whiteouts of names that no layer has. A file with several names is kept, since its names would part.
"""

from __future__ import annotations

from lamina.overlay import format as marks
from lamina.overlay.union import merge
from lamina.overlay.union.branch import DT_DIR, DT_REG, Branch, join
from lamina.overlay.upper.compare import Spot, same_entry, same_metadata, shown_xattrs
from lamina.overlay.upper.folders import Folder, folders
from lamina.overlay.upper.steps import Remove, Step
from lamina.overlay.upper.stopped import Stopped

_SAME = "the layers below have the same"


def plan_vacuum(room: Stopped) -> list[Step]:
    """Return what can be dropped, entries before their directories."""
    plan: list[Step] = []
    dropped: set[bytes] = set()
    for folder in reversed(list(folders(room))):
        gone = [step for step in _in_folder(room, folder) if step.path not in dropped]
        plan += gone
        dropped.update(step.path for step in gone)
        if folder.path and _is_same_folder(room, folder, dropped):
            plan.append(Remove(folder.path, _SAME))
            dropped.add(folder.path)
    return plan


def _in_folder(room: Stopped, folder: Folder) -> list[Remove]:
    found = []
    for name, kind in sorted(folder.scan.entries.items()):
        if kind != DT_DIR and _is_same_file(room, folder, name, kind):
            found.append(Remove(join(folder.path, name), _SAME))
    for name, entry in sorted(folder.scan.whiteouts.items()):
        if name not in folder.below():
            found.append(Remove(join(folder.path, entry), "it hides nothing"))
    return found


def _is_same_file(room: Stopped, folder: Folder, name: bytes, kind: int) -> bool:
    below = folder.lower(name)
    if below is None or below[1] != kind:
        return False
    lower = (room.branch(below[0]), below[0].path)
    one = (room.upper, join(folder.path, name))
    data, lower_data = one, lower
    if kind == DT_REG:
        try:
            data, lower_data = data_of(one, folder, room), data_of(lower, folder, room)
        except OSError:  # a metacopy whose data are nowhere: `check` tells of it
            return False
    return same_entry(one, lower, kind, room.space, data=data, other_data=lower_data)


def data_of(entry: Spot, folder: Folder, room: Stopped) -> Spot:
    """Return where the data of a regular file in `folder` are: with itself, or below if it is a metacopy.

    EPERM where they are nowhere.
    """
    if not is_metacopy(*entry):
        return entry
    place = merge.find_data(*entry, folder.merged, room.roots)
    return room.branch(place), place.path


def is_metacopy(branch: Branch, path: bytes) -> bool:
    """Tell whether the regular file holds metadata alone."""
    with branch.near(path) as (fd, name):
        return marks.is_metacopy(fd, at=name)


def _is_same_folder(room: Stopped, folder: Folder, dropped: set[bytes]) -> bool:
    if folder.place.opacity == b"y" or folder.redirect or folder.trouble or not folder.merged:
        return False
    if any(join(folder.path, name) not in dropped for name in room.upper.names(folder.path)):
        return False
    lower, path = room.branch(folder.merged[0]), folder.merged[0].path
    same = same_metadata(room.upper.stat(folder.path), lower.stat(path))
    return same and shown_xattrs(room.upper, folder.path, room.space) == shown_xattrs(lower, path, room.space)
