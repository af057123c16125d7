"""All that a union shows, as a value that can be compared."""

from __future__ import annotations

import os
import stat

from lamina.overlay.union.union import Union

Shown = dict[bytes, tuple[object, ...]]


def shown(union: Union, *, owners: bool = True) -> Shown:
    """Return for each path its mode, owner, time, device and attributes; of files also links, size and content."""
    seen: Shown = {}
    pending = [b""]
    while pending:
        path = pending.pop()
        st = union.stat(path, follow_symlinks=False)
        assert stat.S_ISDIR(st.st_mode) or st.st_nlink >= 1
        names = [os.fsencode(name) for name in union.listxattr(path, follow_symlinks=False)]
        xattrs = {name: union.getxattr(path, name, follow_symlinks=False) for name in names}
        common = (st.st_mode, (st.st_uid, st.st_gid) if owners else (), st.st_mtime_ns, st.st_rdev, xattrs)
        if stat.S_ISDIR(st.st_mode):
            seen[path] = common
            pending += [path + b"/" + name if path else name for name in union.listdir(path or b".")]
        elif stat.S_ISLNK(st.st_mode):
            seen[path] = (*common, union.readlink(path))
        else:
            content = union.read_bytes(path) if stat.S_ISREG(st.st_mode) else b""
            assert not stat.S_ISREG(st.st_mode) or len(content) == st.st_size
            seen[path] = (*common, st.st_nlink, content)
    return seen
