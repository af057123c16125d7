"""Marks that no version of overlayfs writes: an upper that has some was made by something else, and is not mounted.

Looked at is the topmost part of the upper, so that a mount does not wait for the size of what was written; of the rest
the driver answers with an error when it is met, or leaves the mark out of account, and `lamina upper check` finds all.
"""

from __future__ import annotations

import os

from lamina.errors import InvalidInput, shown
from lamina.overlay import format as marks

#: Stands in `work/incompat` while the upper is being merged into a layer: neither the kernel nor we mount it then.
MERGING = b"lamina-merge"

_MOST = 500  # directories; some milliseconds
_MOST_OTHERS = 2000  # of what stands in them; some milliseconds more

_VALUES = {b"opaque": (b"y", b"x"), b"impure": (b"y",)}

# Where each mark may stand: on a directory, a regular file, anything else. OVL_XATTR_* of fs/overlayfs/overlayfs.h,
# `whiteouts` of Linux 6.7, and `redirects` and `layer`, which are ours.
_PLACES = {
    b"opaque": (True, False, False),
    b"impure": (True, False, False),
    b"uuid": (True, False, False),
    b"whiteouts": (True, False, False),
    b"redirects": (True, False, False),
    b"redirect": (True, True, False),
    b"protattr": (True, True, False),
    b"metacopy": (False, True, False),
    b"whiteout": (False, True, False),
    b"layer": (False, True, True),
    b"nlink": (False, True, True),
    b"origin": (True, True, True),
    b"upper": (True, True, True),
}


def is_strange(mark: bytes, value: bytes, *, directory: bool, regular: bool) -> bool:
    """Tell whether no version of overlayfs writes the mark with that value where it stands.

    What overlayfs itself reads past is none of this: a redirect of a file that got its data back, `whiteout` in a
    directory that does not say that it holds such. An escaped mark (`overlay.…`) is content.
    """
    if mark.startswith(b"overlay."):
        return False
    places = _PLACES.get(mark)
    if places is None or not places[0 if directory else 1 if regular else 2]:
        return True
    if mark == b"redirect":
        return not marks.is_redirect(value)
    if mark == b"metacopy" and value:  # struct ovl_metacopy: version, length of it all, flags, algorithm of a digest
        return len(value) < 4 or value[0] != 0 or value[1] != len(value)
    return value not in _VALUES.get(mark, (value,))


def refuse_strange_marks(upper: str, space: str) -> None:
    """Raise InvalidInput where an entry of the upper has a mark in `space` that overlayfs writes never.

    What stands in the other space is content: whoever may write to a mount may set it.
    """
    pending = [os.fsencode(upper)]
    left = _MOST_OTHERS
    for path in pending:
        _refuse(path, space, directory=True, top=path == pending[0])
        others = []
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    if not entry.is_dir(follow_symlinks=False):
                        others.append(entry)
                    elif len(pending) < _MOST:
                        pending.append(entry.path)
        except OSError:  # closed to us, or deeper than a path can say
            continue
        for entry in others[:left]:
            _refuse(entry.path, space, regular=entry.is_file(follow_symlinks=False))
        left = max(0, left - len(others))


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


def _refuse(path: bytes, space: str, *, directory: bool = False, regular: bool = False, top: bool = False) -> None:
    try:
        names = [name for name in os.listxattr(path, follow_symlinks=False) if name.startswith(space)]
        values = [os.getxattr(path, name, follow_symlinks=False) for name in names]
    except OSError:  # closed to us, or deeper than a path can say
        return
    for name, value in zip(names, values, strict=True):
        mark = os.fsencode(name[len(space) :])
        if (top and mark == b"redirect") or is_strange(mark, value, directory=directory, regular=regular):
            reason = f"it has {name}={shown(value)}, which no version of overlayfs writes there"
            raise InvalidInput("use the upper directory", path, reason, "lamina upper check --repair …")
