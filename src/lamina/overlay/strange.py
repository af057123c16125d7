"""Marks that no version of overlayfs writes: an upper that has some was made by something else, and is not mounted.

Looked at are the topmost directories of the upper, so that a mount does not wait for the size of what was written; of
the others the driver answers EINVAL when they are met, and `lamina upper check` finds all.
"""

from __future__ import annotations

import os

from lamina.errors import InvalidInput, shown
from lamina.overlay import format as marks

#: Stands in `work/incompat` while the upper is being merged into a layer: neither the kernel nor we mount it then.
MERGING = b"lamina-merge"

_MOST = 500  # directories; some milliseconds

_VALUES = {b"opaque": (b"y", b"x"), b"impure": (b"y",)}


def refuse_strange_marks(upper: str, space: str) -> None:
    """Raise InvalidInput where a directory of the upper has a mark in `space` that overlayfs writes never.

    What stands in the other space is content: whoever may write to a mount may set it.
    """
    pending = [os.fsencode(upper)]
    for path in pending:
        try:
            strange = _strange(path, space, top=path == pending[0])
            if len(pending) < _MOST:
                with os.scandir(path) as entries:
                    pending += [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
        except OSError:  # closed to us, or deeper than a path can say
            continue
        if strange:
            reason = f"{shown(strange)}, which no version of overlayfs writes there"
            raise InvalidInput("use the upper directory", path, reason, "lamina upper check --repair …")


def refuse_features(work: str | bytes) -> None:
    """Raise InvalidInput where the work directory says that its upper cannot be mounted, as the kernel reads it."""
    try:
        names = os.listdir(os.path.join(os.fsencode(work), b"work/incompat"))
    except OSError:  # there are none, or it is closed to us, and the kernel says so
        return
    if names:
        hint = "lamina upper merge … finishes the merge" if names[0] == MERGING else "lamina upper check --repair …"
        reason = f"it has the mark {shown(names[0])!r}, which forbids to mount this upper"
        raise InvalidInput("use the work directory", os.path.realpath(work), reason, hint)


def _strange(path: bytes, space: str, *, top: bool) -> str:
    for name in os.listxattr(path, follow_symlinks=False):
        if not name.startswith(space):
            continue
        mark = os.fsencode(name[len(space) :])
        value = os.getxattr(path, name, follow_symlinks=False)
        wrong = (
            mark in (b"metacopy", b"whiteout")
            or value not in _VALUES.get(mark, (value,))
            or (mark == b"redirect" and (top or not marks.is_redirect(value)))
        )
        if wrong:
            return f"it has {name}={shown(value)}"
    return ""
