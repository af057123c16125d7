"""What a lower layer may be, and opening it: a directory, a tar archive, a folder of an fsspec file system."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

from lamina.overlay.union.lower import Lower
from lamina.overlay.union.merge import root_places
from lamina.overlay.union.owners import Owners

if TYPE_CHECKING:
    from lamina.overlay.union.remote import FileSystem

#: A file system of fsspec and a path in it.
FolderOf: TypeAlias = "tuple[FileSystem, str]"
#: A directory, or a tar archive that is a file; or a folder of another file system.
Layer: TypeAlias = "str | FolderOf"


def open_lower(layer: Layer, index: int, owners: Owners, below: Sequence[Lower]) -> Lower:
    """Open a layer, whose place is `index`, over those that are `below` it, base first.

    Of an archive the names are read now. EACCES for a directory that this process cannot read, unless it is foreign.
    """
    # The two that are rarely wanted are loaded when they are: a server of directories starts without them.
    if isinstance(layer, tuple):
        from lamina.overlay.union.remote import RemoteBranch

        return RemoteBranch(*layer, index, owners)
    if os.path.isfile(layer):
        from lamina.overlay.union.tarbranch import TarBranch

        return TarBranch(layer, index, owners, root_places(below))
    if not owners.foreign and not os.access(layer, os.R_OK | os.X_OK, effective_ids=True):
        os.stat(layer)  # its own error, where there is nothing at all
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), layer)
    return owners.branch(layer, index, lower=True)
