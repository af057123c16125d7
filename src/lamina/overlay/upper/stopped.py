"""An upper whose mount is stopped, opened for one tool: nobody else has it, and its layers can be looked up."""

from __future__ import annotations

import os
from types import TracebackType

from lamina.errors import Conflict, InvalidInput
from lamina.linux.namespaces import in_first_user_namespace
from lamina.overlay import format as marks
from lamina.overlay.in_use import lock, mounts_with, refuse_held
from lamina.overlay.stack import Overlay
from lamina.overlay.strange import MERGING
from lamina.overlay.union import merge
from lamina.overlay.union.branch import Branch
from lamina.overlay.union.node import Place
from lamina.overlay.union.upper import Upper

#: Where the journal of a merge stands in the work directory (docs/formats/upper.md).
JOURNAL = b"work/incompat/" + MERGING


class Stopped:
    """The upper of `overlay`, with its work directory and the layers below, base first. Use as a context manager.

    The lock is the one that our union takes. Conflict where the upper is in use, in any way that can be seen, or where
    a merge was interrupted, unless the tool is the one that finishes it (`merging`).
    """

    def __init__(self, overlay: Overlay, *, merging: bool = False) -> None:
        self.overlay = overlay
        overlay.check()
        if not overlay.upper:
            raise InvalidInput("use the upper directory", "", "none is named")
        self._refuse_mounted(merging)
        self.layers: list[Branch] = []
        self._open: list[Branch] = []
        self._lock = lock(overlay.upper)
        try:
            for index, path in enumerate(overlay.layers):
                self.layers.append(self._branch(path, index))
            self.upper = self._branch(overlay.upper, len(self.layers))
            self.work = self._branch(overlay.work, len(self.layers))
            self.roots = merge.root_places(self.layers)
            self.space = self._space()
            if not merging and self.is_merging():
                raise Conflict("use the upper", overlay.upper, "its merge was interrupted", "lamina upper merge …")
        except BaseException:
            self.close()
            raise

    def _refuse_mounted(self, merging: bool) -> None:
        used = [(self.overlay.upper, ("upperdir", "lowerdir")), (self.overlay.work, ("workdir",))]
        if merging:  # which changes the topmost layer as well
            used.append((self.overlay.layers[-1], ("lowerdir", "upperdir")))
        for directory, roles in used:
            for point in mounts_with(directory, roles):
                raise Conflict("use", directory, f"it is mounted on {point}", f"lamina umount {point}")
        refuse_held(*(directory for directory, _ in used))

    def _branch(self, path: str, index: int) -> Branch:
        branch = Branch(path, index)
        self._open.append(branch)
        return branch

    def __enter__(self) -> Stopped:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the upper free."""
        while self._open:
            self._open.pop().close()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def branch(self, place: Place) -> Branch:
        """Return the branch of a place, which here is always a directory of this machine."""
        return [*self.layers, self.upper][place.branch.index]

    @property
    def low(self) -> Branch:
        """The topmost layer."""
        return self.layers[-1]

    def is_merging(self) -> bool:
        """Tell whether a merge was begun and not finished."""
        try:
            self.work.stat(JOURNAL)
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            return False
        return True

    def open_upper(self) -> Upper:
        """Return the upper for the union's engine, under the lock that this holds already; the caller closes it."""
        overlay = self.overlay
        userxattr = self.space == marks.USER
        return Upper(
            overlay.upper, overlay.work, len(self.layers), userxattr=userxattr, sync=True, held=os.dup(self._lock)
        )

    def _space(self) -> str:
        """Return the spelling of the upper's marks: what the caller's mount would write, or what is there."""
        if self.overlay.userxattr or os.geteuid() != 0 or not in_first_user_namespace():
            return marks.USER
        # Root may look after an ordinary user's upper, whose top says whose it is by its bookkeeping.
        found = {space.decode() for space, _ in raw_marks(self.upper, b"")}
        return marks.USER if found == {marks.USER} else marks.TRUSTED


def raw_marks(branch: Branch, path: bytes) -> dict[tuple[bytes, bytes], bytes]:
    """Return overlayfs's xattrs of an entry, by (space, mark); not the escaped ones, which are content."""
    found: dict[tuple[bytes, bytes], bytes] = {}
    with branch.proc_path(path) as proc:
        try:
            names = [os.fsencode(name) for name in os.listxattr(proc, follow_symlinks=False)]
        except OSError:  # none on this file system, or for this type of entry
            return found
        for name in names:
            for space in (marks.TRUSTED.encode(), marks.USER.encode()):
                mark = name.removeprefix(space)
                if mark != name and not mark.startswith(b"overlay."):
                    found[space, mark] = os.getxattr(proc, name, follow_symlinks=False)
    return found
