"""The machine itself as the lowest layer: which of its mounts become overlays, and which are only shown.

An overlay shows one file system, not what is mounted below it, so every mount point of the host is laid over on its
own, each with an upper of its own. As root the root file system can be one lower directory, whatever is mounted in it.
In a user namespace that is refused (EINVAL: what is mounted on it is locked there), so a directory that has mounts
below it is taken apart: its children are laid over one by one, down to those that have none.

What no overlay can lie over (a file that is a mount point, a file system that is no lower layer) is bound read-only.
"""

from __future__ import annotations

import os
import stat

from lamina.linux import mount as kernel
from lamina.linux.fuse import DEVICE
from lamina.runtime import steps
from lamina.runtime.plan import Base, Target, is_first_root, overlay_options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lamina.ids.map import IdMap
    from lamina.linux.mountinfo import MountPoint
    from lamina.overlay.drivers import Driver
    from lamina.runtime.steps import Step

#: Trees that a container has of its own: nothing of the host's is shown there.
OWN = ("/proc", "/sys", "/dev")

_READ_ONLY = kernel.MOUNT_ATTR_RDONLY | kernel.MOUNT_ATTR_NODEV | kernel.MOUNT_ATTR_NOSUID


def host_driver(asked: Driver, ids: IdMap) -> Driver:
    """Return the driver for a container over the host: what is asked for, or for an ordinary user ours if it can be.

    The kernel's refuses such a user to write to directories and files of ids that the user's map has not.
    """
    if asked != "auto" or is_first_root(ids):
        return "fuse" if asked == "fuse" else "kernel"
    try:
        os.close(os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC))
    except OSError:
        return "kernel"
    return "fuse"


def host_union(layers: list[str], directory: str, ids: IdMap, *, hidden: str, throw_away: bool) -> Over:
    """Return the base that shows the host through our own driver, with `layers` (changes bound to it) over it.

    It is one union over all that is mounted: the driver looks at the host by paths, through every mount point.
    """
    upper, work = f"{directory}/upper", f"{directory}/work"
    foreign = [] if is_first_root(ids) else [("foreign", "")]
    options = [*foreign, *(("hide", path) for path in (*OWN, hidden) if path)]
    stack = steps.Stack(
        "/",
        layers=[f"{directory}/targets", "/", *layers],
        upper=upper,
        work=work,
        userxattr=not is_first_root(ids),
        options=[*options, ("volatile", "")] if throw_away else options,
        driver="fuse",
    )
    return Over(Base([stack], directories=[upper, work]), [("", "upper")])


class Over:
    """What lies over the host: the base of the tree, and its uppers as (place, name in the container's directory)."""

    __slots__ = ("base", "uppers")

    def __init__(self, base: Base, uppers: list[tuple[str, str]]) -> None:
        self.base = base
        self.uppers = uppers


def host_base(
    points: list[MountPoint],
    layers: list[str],
    directory: str,
    ids: IdMap,
    *,
    hidden: str,
    throw_away: bool,
) -> Over:
    """Return the base that shows the host, with `layers` (changes bound to it, base first) over its root.

    `points` are the mounts as mountinfo lists them, `hidden` a directory that is covered: the store's own. Looks at
    directories of the host; changes nothing.
    """
    taker = _Taker(_visible(points), layers, directory, ids, throw_away=throw_away)
    taker.take(hidden)
    cover: list[Step] = [steps.Mask(hidden)] if hidden else []
    base = Base([*taker.steps, *cover], directories=taker.directories, needed=taker.needed)
    return Over(base, taker.uppers)


def _visible(points: list[MountPoint]) -> list[str]:
    """Return the paths where something is mounted that a container should see, parents first, each once."""
    paths = {point.path for point in points}
    return sorted(path for path in paths if path != "/" and not any(_within(path, own) for own in OWN))


def _within(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory.rstrip("/") + "/")


class _Taker:
    """Takes the host apart into steps."""

    def __init__(self, mounted: list[str], layers: list[str], directory: str, ids: IdMap, *, throw_away: bool) -> None:
        self.mounted = mounted
        self.layers = layers
        self.directory = directory
        self.may_be_whole = is_first_root(ids)
        self.userxattr = not is_first_root(ids)
        self.options = overlay_options(ids, throw_away=throw_away)
        self.steps: list[Step] = []
        self.directories: list[str] = []
        self.needed: list[Target] = []
        self.uppers: list[tuple[str, str]] = []

    def take(self, hidden: str) -> None:
        """Lay over the root as one, or over a tree of names alone whose directories are then laid over each.

        A layer that lies inside another one is refused (ELOOP), and those of a store lie inside the host's root: with
        them the root is taken apart down to the store, which no overlay then contains.
        """
        if self.may_be_whole and not self.layers:
            self._lay_over("/", ["/"])
            for path in self.mounted:
                self._take_mount(path)
        else:
            if self.layers:
                self.mounted.append(hidden)
            self._lay_over("/", [f"{self.directory}/targets", *self.layers])
            self._take_apart("/", hidden)

    def _take_mount(self, path: str) -> None:
        if _is_directory(path):
            self._lay_over(path, [path])
        elif os.path.lexists(path):  # what another mount covers is not there, and a user's FUSE is closed to root
            self._bind(path)

    def _take_apart(self, directory: str, hidden: str) -> None:
        for name in _names(directory):
            path = os.path.join(directory, name)
            if path in (*OWN, hidden) or self._is_replaced(path):
                continue
            if os.path.islink(path):
                self.needed.append(Target(path, link=os.readlink(path)))
            elif not _is_directory(path):
                self.needed.append(Target(path))
                self._bind(path)
            else:
                self.needed.append(Target(path, directory=True, mode=stat.S_IMODE(os.lstat(path).st_mode)))
                self._take_directory(path, hidden)

    def _take_directory(self, path: str, hidden: str) -> None:
        if not os.access(path, os.R_OK | os.X_OK):
            return  # its name is shown, as its content cannot be
        if any(_within(mounted, path) and mounted != path for mounted in self.mounted):
            self._take_apart(path, hidden)
        else:
            self._lay_over(path, [path, *filter(os.path.isdir, (layer + path for layer in self.layers))])

    def _is_replaced(self, path: str) -> bool:
        """Tell whether the topmost layer that has the name deletes it, or has something else than a directory there."""
        for layer in reversed(self.layers):
            if os.path.lexists(layer + path):
                return not _is_directory(layer + path)
        return False

    def _lay_over(self, path: str, lowers: list[str]) -> None:
        number = len(self.uppers)
        name, work = (f"upper{number}", f"work{number}") if number else ("upper", "work")
        self.uppers.append((path.strip("/"), name))
        upper = f"{self.directory}/{name}"
        self.directories += [upper, f"{self.directory}/{work}"]
        self.steps.append(
            steps.Stack(
                path,
                layers=lowers,
                upper=upper,
                work=f"{self.directory}/{work}",
                userxattr=self.userxattr,
                options=self.options,
                or_read_only=path != "/",
            )
        )

    def _bind(self, path: str) -> None:
        self.steps.append(steps.BindPath(path, path, _READ_ONLY, or_nothing=True))


def _names(directory: str) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except PermissionError:
        return []


def _is_directory(path: str) -> bool:
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except OSError:
        return False
