"""Comparing an entry of the upper with one of a layer, in all that a mount shows of it."""

from __future__ import annotations

import os
from typing import TypeAlias

from lamina.overlay.union.branch import DT_LNK, DT_REG, Branch

_PIECE = 1 << 20

#: An entry: its branch and its path there.
Spot: TypeAlias = tuple[Branch, bytes]


def same_metadata(one: os.stat_result, other: os.stat_result) -> bool:
    """Tell whether mode, owner and time of change of the content are the same."""
    return (one.st_mode, one.st_uid, one.st_gid, one.st_mtime_ns) == (
        other.st_mode,
        other.st_uid,
        other.st_gid,
        other.st_mtime_ns,
    )


def shown_xattrs(branch: Branch, path: bytes, space: str) -> dict[str, bytes]:
    """Return the xattrs but for overlayfs's marks in `space`; escaped marks are content."""
    with branch.proc_path(path) as proc:
        try:
            names = os.listxattr(proc, follow_symlinks=False)
        except OSError:
            return {}
        kept = [name for name in names if not name.startswith(space) or name.startswith(f"{space}overlay.")]
        return {name: os.getxattr(proc, name, follow_symlinks=False) for name in kept}


def same_entry(one: Spot, other: Spot, kind: int, space: str, *, data: Spot, other_data: Spot) -> bool:
    """Tell whether two entries of the type `kind` (DT_*), no directories, are the same, and each the only link.

    `data` and `other_data` are where their contents are. A file with several names would change the counts of the
    others.
    """
    st, other_st = one[0].stat(one[1]), other[0].stat(other[1])
    if st.st_nlink != 1 or other_st.st_nlink != 1 or not same_metadata(st, other_st):
        return False
    if kind == DT_REG and st.st_size != other_st.st_size:
        return False
    if kind not in (DT_REG, DT_LNK) and st.st_rdev != other_st.st_rdev:
        return False
    if kind == DT_LNK and one[0].readlink(one[1]) != other[0].readlink(other[1]):
        return False
    if shown_xattrs(*one, space) != shown_xattrs(*other, space):
        return False
    return kind != DT_REG or data == other_data or _same_content(data, other_data)


def _same_content(one: Spot, other: Spot) -> bool:
    fd = one[0].open(one[1], os.O_RDONLY)
    try:
        other_fd = other[0].open(other[1], os.O_RDONLY)
        try:
            offset = 0
            while True:
                piece = os.pread(fd, _PIECE, offset)
                if piece != os.pread(other_fd, _PIECE, offset):
                    return False
                if not piece:
                    return True
                offset += len(piece)
        finally:
            os.close(other_fd)
    finally:
        os.close(fd)
