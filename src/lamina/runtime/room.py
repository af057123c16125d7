"""The tree of a container under construction, and finding a place in it without ever leaving it."""

from __future__ import annotations

import errno
import os

from lamina.linux.namespaces import MountNamespace
from lamina.linux.paths import open_in_root, open_parent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from lamina.overlay.stack import Overlay


class Room:
    """The tree under construction: `path` is the container's root as the host sees it.

    `made` gathers the names inside that had to be made as mount targets in the container's own upper; `notes` what a
    user should know; `overlays` where one is mounted. `hand_over` gives the device of a mounted union to whoever starts
    its server. `driver` is the one that presents the root.
    """

    __slots__ = ("_devices", "_root", "driver", "hand_over", "made", "namespace", "notes", "overlays", "path")

    def __init__(self, path: str, namespace: MountNamespace, hand_over: Callable[[Overlay, int], None]) -> None:
        self.path = path
        self.namespace = namespace
        self.hand_over = hand_over
        self.made: list[str] = []
        self.driver = ""
        self.notes: list[str] = []
        self._root = -1
        self.overlays: list[int] = []  # O_PATH descriptors of their roots, open until the command is executed
        self._devices: set[int] = set()  # of the overlays: what is made elsewhere lands in no upper

    def enter_root(self) -> None:
        """Take what is mounted on `path` now as the root in which targets are resolved."""
        self._root = os.open(self.path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self.add_overlay("/")

    def add_overlay(self, target: str) -> None:
        """Note that an overlay is mounted on `target`: what is made in it lands in an upper."""
        place = self.find(target)
        self._devices.add(os.fstat(place).st_dev)
        self.overlays.append(place)

    @property
    def root(self) -> int:
        """The root's O_PATH descriptor, open until the process executes the command."""
        return self._root

    def find(self, target: str, *, flags: int = 0) -> int:
        """Return an O_PATH descriptor of `target`, which must exist; the caller closes it."""
        return open_in_root(self._root, os.fsencode(target), os.O_PATH | flags)

    def ensure(self, target: str, *, directory: bool) -> int:
        """Return an O_PATH descriptor of `target`, made as an empty directory or file where there is none."""
        path = os.fsencode(target)
        for _ in range(40):  # links on the way to a name that does not exist (path_resolution(7): ELOOP)
            try:
                return open_in_root(self._root, path, os.O_PATH)
            except FileNotFoundError:
                path = self._make(path, directory=directory)
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), target)

    def _inside(self, parent: int, name: bytes) -> str:
        """Return the path inside, with no link on the way: an upper has it under that name only."""
        top, directory = (os.readlink(f"/proc/self/fd/{fd}") for fd in (self._root, parent))
        return f"{directory.removeprefix(top)}/{os.fsdecode(name)}"

    def _make(self, path: bytes, *, directory: bool) -> bytes:
        """Make `path` with its parents, or return where a dangling link in its place points to."""
        head = os.path.dirname(path.rstrip(b"/"))
        if head.strip(b"/"):
            os.close(self.ensure(os.fsdecode(head), directory=True))
        parent, name = open_parent(self._root, path)
        try:
            try:
                link = os.readlink(name, dir_fd=parent)
            except FileNotFoundError:
                if directory:
                    os.mkdir(name, 0o755, dir_fd=parent)
                else:
                    os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644, dir_fd=parent))
                if os.fstat(parent).st_dev in self._devices:
                    self.made.append(self._inside(parent, name))
                return path
            return link if link.startswith(b"/") else os.path.join(head, link)
        finally:
            os.close(parent)
