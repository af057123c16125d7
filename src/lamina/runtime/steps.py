"""The steps that make a container's file tree: values to be carried out, sent to another process, and explained.

Each step knows `do` and `describe` (the same as shell commands). Targets are paths inside the container and are
resolved beneath its root, so that no link of an image leads a mount out of it. They are carried out in order, in the
mount namespace that will be the container's; nothing needs undoing, since the mounts end with the namespace.
"""

from __future__ import annotations

import errno
import os
import stat

from lamina.errors import LaminaError, Unsupported
from lamina.linux import mount as kernel
from lamina.linux.paths import open_parent
from lamina.overlay.drivers import mount_served
from lamina.overlay.kernel import bind
from lamina.overlay.stack import Overlay
from lamina.runtime.room import Room
from lamina.runtime.shell import quote
from lamina.runtime.spec import Plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lamina.overlay.drivers import Driver

_KERNELS = ("/proc", "/sys", "/dev")  # no link of an image may move these

_SAFE = kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC
_MOUNT_WORDS = (
    (kernel.MS_RDONLY, "ro"),
    (kernel.MS_NOSUID, "nosuid"),
    (kernel.MS_NODEV, "nodev"),
    (kernel.MS_NOEXEC, "noexec"),
)


class Step(Plain):
    """One step. `about` is the comment that an explanation shows before it."""

    __slots__ = ()
    about = ""

    def do(self, room: Room) -> None:
        """Carry it out. Raises OSError or LaminaError."""
        raise NotImplementedError

    def describe(self, root: str) -> list[str]:
        """Return the same as shell commands, where `root` is the path of the container's root."""
        raise NotImplementedError


class Private(Step):
    """Let no mount made here be seen outside, nor the reverse."""

    __slots__ = ()
    about = "no mount made from here on is seen outside"

    def do(self, room: Room) -> None:
        room.namespace.check()
        kernel.mount("", "/", "", kernel.MS_REC | kernel.MS_PRIVATE)

    def describe(self, root: str) -> list[str]:
        return ["mount --make-rprivate /"]


class Stack(Step):
    """Mount an overlay: on the root itself with target "/", which comes first, or on a directory inside.

    With `or_read_only`, the topmost layer is bound read-only where the kernel refuses it as a lower one.
    """

    __slots__ = ("driver", "layers", "options", "or_read_only", "target", "upper", "userxattr", "work")

    def __init__(
        self,
        target: str,
        *,
        layers: list[str],
        upper: str,
        work: str,
        userxattr: bool,
        options: list[tuple[str, str]],
        or_read_only: bool = False,
        driver: Driver = "auto",
    ) -> None:
        self.target = target
        self.layers = layers
        self.upper = upper
        self.work = work
        self.userxattr = userxattr
        self.options = options
        self.or_read_only = or_read_only
        self.driver = driver

    @property
    def about(self) -> str:  # type: ignore[override]  # a constant elsewhere
        """The comment, which differs for the root."""
        return "the stack: lower layers (topmost first), the upper that takes every change, work for the kernel"

    def overlay(self) -> Overlay:
        """Return the value that the drivers take."""
        return Overlay(self.layers, upper=self.upper, work=self.work, userxattr=self.userxattr, options=self.options)

    def do(self, room: Room) -> None:
        if self.target == "/":
            self._mount(room, room.path)
            room.enter_root()
            return
        if self.or_read_only and not os.path.isdir(self.layers[0]):
            return  # a directory of the host that went away since it was listed
        place = room.ensure(self.target, directory=True)
        try:
            self._mount(room, f"/proc/self/fd/{place}")
            room.add_overlay(self.target)
        except Unsupported as error:
            if not self.or_read_only:
                raise
            safe = kernel.MOUNT_ATTR_RDONLY | kernel.MOUNT_ATTR_NODEV
            bind(self.layers[-1], f"/proc/self/fd/{place}", safe, recursive=True)
            room.notes.append(f"{self.target} is read-only: {error.reason}")
        finally:
            os.close(place)

    def _mount(self, room: Room, where: str) -> None:
        overlay = self.overlay()

        def hand_over(device: int) -> None:
            room.hand_over(overlay, device)

        mounted = mount_served(overlay, where, hand_over, driver=self.driver, attributes=kernel.MOUNT_ATTR_NODEV)
        if self.target == "/":
            room.driver = mounted.driver
        if mounted.note:
            room.notes.append(f"{self.target}: {mounted.note}")

    def describe(self, root: str) -> list[str]:
        where = root + self.target.rstrip("/")
        made = [f"mkdir -p {quote(where)} {quote(self.upper)} {quote(self.work)}"] if self.upper else []
        options = self.overlay().option_text() + ",nodev"
        return [*made, f"mount -t overlay overlay -o {quote(options)} {quote(where)}"]


class FileSystem(Step):
    """Mount a file system of the kernel's own; /proc, /sys and /dev must be directories and no links."""

    __slots__ = ("data", "flags", "fstype", "target")

    def __init__(self, fstype: str, target: str, flags: int, data: str = "") -> None:
        self.fstype = fstype
        self.target = target
        self.flags = flags
        self.data = data

    @property
    def about(self) -> str:  # type: ignore[override]  # a constant elsewhere
        """The comment, by file system."""
        return {
            "proc": "/proc shows the processes of the new pid namespace",
            "sysfs": "/sys, read-only",
            "devpts": "terminals of the container's own",
            "mqueue": "message queues of the new ipc namespace",
            "cgroup2": "the cgroup tree as the new cgroup namespace shows it, read-only",
        }.get(self.fstype, f"memory for {self.target}")

    def do(self, room: Room) -> None:
        own = self.target in _KERNELS
        place = _real_directory(room, self.target) if own else room.ensure(self.target, directory=True)
        try:
            kernel.mount(self.fstype, f"/proc/self/fd/{place}", self.fstype, self.flags, self.data)
        except OSError as error:
            if not self._instead(room, place, error):
                raise OSError(error.errno, error.strerror, self.target) from error
        finally:
            os.close(place)

    def _instead(self, room: Room, place: int, error: OSError) -> bool:
        """Make do with what is there, where an outer container masks /proc or lends no message queues or cgroups."""
        if error.errno not in (errno.EPERM, errno.EBUSY, errno.ENODEV, errno.EINVAL):
            return False
        if self.fstype == "proc":
            bind("/proc", f"/proc/self/fd/{place}", 0, recursive=True)
            room.notes.append("/proc is the outer one: a new one is refused here, so processes of the host are seen")
            return True
        return self.fstype in ("mqueue", "cgroup2")

    def describe(self, root: str) -> list[str]:
        words = [word for flag, word in _MOUNT_WORDS if self.flags & flag] + ([self.data] if self.data else [])
        options = f" -o {quote(','.join(words))}" if words else ""
        make = [f"mkdir -p {quote(root + self.target)}"] if self.target.startswith("/dev/") else []
        return [*make, f"mount -t {self.fstype} {self.fstype}{options} {quote(root + self.target)}"]


class BindPath(Step):
    """Bind a file or directory of the host, with `attributes` (MOUNT_ATTR_) on it and, if a directory, all below it.

    A source that does not exist is made as a directory with `create`, and left out with `or_nothing`.
    """

    __slots__ = ("attributes", "create", "or_nothing", "source", "target")

    def __init__(
        self, source: str, target: str, attributes: int, *, create: bool = False, or_nothing: bool = False
    ) -> None:
        self.source = source
        self.target = target
        self.attributes = attributes
        self.create = create
        self.or_nothing = or_nothing

    @property
    def about(self) -> str:  # type: ignore[override]  # a constant elsewhere
        """The comment, with the source."""
        how = "read-only" if self.attributes & kernel.MOUNT_ATTR_RDONLY else "as it is"
        return f"{self.source} of the host, {how}"

    def do(self, room: Room) -> None:
        if self.create:
            os.makedirs(self.source, exist_ok=True)
        try:
            directory = stat.S_ISDIR(os.stat(self.source).st_mode)
        except OSError as error:
            if self.or_nothing:
                return
            raise LaminaError("bind into the container", self.source, error) from error
        own = self.target in _KERNELS
        place = _real_directory(room, self.target) if own else room.ensure(self.target, directory=directory)
        try:
            bind(self.source, f"/proc/self/fd/{place}", self.attributes, recursive=directory)
        except OSError as error:
            raise Unsupported("bind into the container", f"{self.source} on {self.target}", error) from error
        finally:
            os.close(place)

    def describe(self, root: str) -> list[str]:
        target = quote(root + self.target)
        directory = self.create or os.path.isdir(self.source)
        parent = quote(os.path.dirname(root + self.target))
        make = f"mkdir -p {target}" if directory else f"[ -e {target} ] || {{ mkdir -p {parent} && touch {target}; }}"
        lines = [f"mkdir -p {quote(self.source)}"] if self.create else []
        lines += [make, f"mount --rbind {quote(self.source)} {target}"]
        words = [word for flag, word in _MOUNT_WORDS if _as_attribute(flag) & self.attributes]
        if words:
            lines.append(f"mount -o remount,bind,{','.join(words)} {target}")
            if directory and _has_mounts(self.source):
                lines.append("# (only lamina: the same for every mount below it, which mount(8) leaves as it is)")
        return lines


class Link(Step):
    """Make a symbolic link inside /dev."""

    __slots__ = ("target", "text")

    def __init__(self, target: str, text: str) -> None:
        self.target = target
        self.text = text

    about = ""

    def do(self, room: Room) -> None:
        parent, name = open_parent(room.root, os.fsencode(self.target))
        try:
            os.symlink(os.fsencode(self.text), name, dir_fd=parent)
        finally:
            os.close(parent)

    def describe(self, root: str) -> list[str]:
        return [f"ln -s {quote(self.text)} {quote(root + self.target)}"]


class Mask(Step):
    """Cover what a container must not see: a file with /dev/null, a directory with an empty read-only one."""

    __slots__ = ("target",)

    def __init__(self, target: str) -> None:
        self.target = target

    about = "what tells of the host is covered"

    def do(self, room: Room) -> None:
        try:
            place = room.find(self.target)
        except (FileNotFoundError, NotADirectoryError):
            return
        try:
            if stat.S_ISDIR(os.fstat(place).st_mode):
                kernel.mount("tmpfs", f"/proc/self/fd/{place}", "tmpfs", _SAFE | kernel.MS_RDONLY, "size=0,mode=555")
            else:
                bind("/dev/null", f"/proc/self/fd/{place}", kernel.MOUNT_ATTR_RDONLY, recursive=False)
        finally:
            os.close(place)

    def describe(self, root: str) -> list[str]:
        target = quote(root + self.target)
        return [
            f"if [ -d {target} ]; then mount -t tmpfs tmpfs -o ro,size=0,mode=555 {target}; "
            f"elif [ -e {target} ]; then mount --bind /dev/null {target}; fi"
        ]


class ReadOnly(Step):
    """Make a part of /proc read-only through a bind of itself."""

    __slots__ = ("target",)
    about = "settings of the kernel are read-only"

    def __init__(self, target: str) -> None:
        self.target = target

    def do(self, room: Room) -> None:
        try:
            place = room.find(self.target)
        except (FileNotFoundError, NotADirectoryError):
            return
        try:
            itself = f"/proc/self/fd/{place}"
            bind(itself, itself, kernel.MOUNT_ATTR_RDONLY, recursive=True)
        finally:
            os.close(place)

    def describe(self, root: str) -> list[str]:
        target = quote(root + self.target)
        return [f"if [ -e {target} ]; then mount --bind {target} {target}; mount -o remount,bind,ro {target}; fi"]


class Seal(Step):
    """Make the overlays of the tree, which are mounted on `targets`, read-only: once all targets in them are made."""

    __slots__ = ("targets",)
    about = "nothing may be written"

    def __init__(self, targets: list[str]) -> None:
        self.targets = targets

    def do(self, room: Room) -> None:
        for place in room.overlays:
            _seal(place)

    def describe(self, root: str) -> list[str]:
        return [f"mount -o remount,bind,ro,nodev {quote(root + target.rstrip('/'))}" for target in self.targets]


class Pivot(Step):
    """Make the tree the root of the namespace, and let go of the host's."""

    __slots__ = ()
    about = "the tree becomes the root; the host's root is let go"

    def do(self, room: Room) -> None:
        room.namespace.check()  # without it, every process of the machine would lose its root
        os.fchdir(room.root)
        # pivot_root(2), "pivot_root(".", ".")": the old root lies on top of the new one, and is detached from there.
        kernel.pivot_root(".", ".")
        kernel.umount2(".", kernel.MNT_DETACH)
        os.chdir("/")

    def describe(self, root: str) -> list[str]:
        return [f"cd {quote(root)}", "pivot_root . .", "umount -l .", "cd /"]


def _seal(place: int) -> None:
    try:
        kernel.mount_setattr(place, "", kernel.AT_EMPTY_PATH, kernel.MOUNT_ATTR_RDONLY)
    except OSError as error:
        if error.errno != errno.ENOSYS:
            raise
        flags = kernel.MS_REMOUNT | kernel.MS_BIND | kernel.MS_RDONLY | kernel.MS_NODEV
        kernel.mount("", f"/proc/self/fd/{place}", "", flags)


def _real_directory(room: Room, target: str) -> int:
    """Return the directory `target`; refuse a link in its place, which an image could use to move /proc elsewhere."""
    try:
        return room.find(target, flags=os.O_NOFOLLOW | os.O_DIRECTORY)
    except FileNotFoundError:
        return room.ensure(target, directory=True)
    except NotADirectoryError as error:
        raise LaminaError(
            "mount into the container", target, "the image has something else than a directory there"
        ) from error


def _has_mounts(directory: str) -> bool:
    """Tell whether something is mounted below a directory of the host."""
    from lamina.linux.mountinfo import mount_points

    below = os.path.realpath(directory).rstrip("/") + "/"
    return any(point.path.startswith(below) for point in mount_points())


def _as_attribute(flag: int) -> int:
    return next(attribute for attribute, same in kernel.ATTRIBUTE_FLAGS if same == flag)


KINDS: dict[str, type[Step]] = {
    kind.__name__: kind for kind in (Private, Stack, FileSystem, BindPath, Link, Mask, ReadOnly, Seal, Pivot)
}


def to_plain(step: Step) -> list[object]:
    """Return a step as data that JSON can carry."""
    return [type(step).__name__, step.plain()]


def from_plain(value: list[object]) -> Step:
    """Return the step that `to_plain` described."""
    kind, fields = value
    assert isinstance(kind, str)
    assert isinstance(fields, dict)
    return KINDS[kind](**fields)
