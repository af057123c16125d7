"""Mounting an overlay by the kernel.

With the mount API of descriptors a layer is an O_PATH descriptor (Linux 6.13), which has no limit of length and nothing
to escape; before that a text, and where fsopen(2) is missing (ENOSYS) the one page of mount(2), which short names below
/proc/self/fd make enough for 500 layers.
"""

from __future__ import annotations

import errno
import os

from lamina.errors import LaminaError, Unsupported, shown
from lamina.linux import mount as kernel
from lamina.linux.xattr import setxattr
from lamina.overlay import format as marks
from lamina.overlay.stack import MAX_LOWER, Overlay
from lamina.overlay.strange import refuse_features, refuse_strange_marks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


class Opened:
    """The directories of an overlay as O_PATH descriptors: layers base first; upper and work, or -1."""

    __slots__ = ("layers", "upper", "work")

    def __init__(self, overlay: Overlay) -> None:
        self.layers: list[int] = []
        self.upper = self.work = -1
        try:
            for path in overlay.layers:
                self.layers.append(_open(path))
            if overlay.upper:
                self.upper = _open(overlay.upper)
                self.work = _open(overlay.work)
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        """Close all of them; may be repeated."""
        for fd in (*self.layers, self.upper, self.work):
            if fd >= 0:
                os.close(fd)
        self.layers = []
        self.upper = self.work = -1

    def __enter__(self) -> Opened:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _open(path: str) -> int:
    return os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def mount(overlay: Overlay, target: str, *, attributes: int = 0) -> None:
    """Mount `overlay` on the directory `target`, in the mount namespace of the caller.

    `attributes` are MOUNT_ATTR_ flags. One lower without an upper, which overlayfs refuses, becomes a read-only bind
    mount. More than 500 layers are shown through an overlay of the lowest ones. Raises InvalidInput for directories
    that cannot be, and Unsupported with the kernel's own words for what it refuses.
    """
    overlay.check()
    if len(overlay.layers) == 1 and not overlay.upper:
        _bind_read_only(overlay.layers[0], target, attributes)
        return
    if overlay.upper:
        refuse_features(overlay.work)
        refuse_strange_marks(overlay.upper, marks.USER if overlay.userxattr else marks.TRUSTED)
    settled = settle_renames(overlay, target)
    if overlay.renames == "redirect":
        with _Path(overlay.upper) as fd:
            setxattr(fd, marks.TRUSTED.encode() + marks.REDIRECTS, b"y")
    overlay = settled
    try:
        with Opened(overlay) as opened:
            _mount_opened(overlay, opened, target, attributes)
    except OSError as error:
        raise refusal(overlay, target, error) from error


def settle_renames(overlay: Overlay, target: str) -> Overlay:
    """Return the overlay with the kernel's option for what is to become, or became, of renamed lower directories.

    The kernel follows redirects for root of the first user namespace alone, by marks in trusted.overlay.*. Raises
    Unsupported where the upper has some that it would refuse to follow: each such directory would answer EPERM.
    """
    if not os.path.isdir(overlay.upper):
        return overlay
    with _Path(overlay.upper) as fd:
        trusted, user = marks.has_redirects(fd, marks.TRUSTED), marks.has_redirects(fd, marks.USER)
    wanted = overlay.renames == "redirect"
    if user or (overlay.userxattr and (trusted or wanted)):
        reason = "the kernel's driver follows renamed directories for root alone"
        if user or trusted:
            reason = f"{overlay.upper} has renamed directories, which the kernel's driver follows for root alone"
        raise Unsupported("mount the overlay on", target, reason, "lamina upper flatten …, or --driver fuse")
    if not trusted and not overlay.renames:
        return overlay
    if overlay.userxattr:  # where it never makes redirects, and takes no option
        return overlay
    others = [option for option in overlay.options if option[0] != "redirect_dir"]
    value = "on" if trusted or wanted else "nofollow"
    return overlay.with_options([*others, ("redirect_dir", value)])


def _mount_opened(overlay: Overlay, opened: Opened, target: str, attributes: int) -> None:
    try:
        below = _merge_lowest(overlay, opened, target)
        try:
            mounted = _create(overlay, opened.layers, opened.upper, opened.work, attributes)
        finally:
            if below >= 0:  # the new overlay holds a mount of its own of it; our descriptor makes it busy
                # By descriptor, so that nothing else can be taken off the target.
                kernel.umount2(f"/proc/self/fd/{below}", kernel.MNT_DETACH)
        try:
            with _Path(target) as place:
                kernel.move_mount(mounted, place)
        finally:
            os.close(mounted)
    except OSError as error:
        if error.errno != errno.ENOSYS:
            raise
        _mount_by_text(overlay, opened, target, attributes)


def _merge_lowest(overlay: Overlay, opened: Opened, target: str) -> int:
    """Where there are too many layers, mount the lowest on `target` and put the result in their place.

    Returns its descriptor, which then is the lowest layer of `opened`, or -1.
    """
    excess = len(opened.layers) - MAX_LOWER
    if excess <= 0:
        return -1
    count = excess + 1
    if count > MAX_LOWER:
        raise Unsupported("mount", target, f"{len(opened.layers)} layers are more than two overlays can show")
    lowest = Overlay(overlay.layers[:count], userxattr=overlay.userxattr)
    mounted = _create(lowest, opened.layers[:count], -1, -1, kernel.MOUNT_ATTR_NODEV)
    for fd in opened.layers[:count]:
        os.close(fd)
    opened.layers[:count] = [mounted]
    with _Path(target) as place:  # a mount that is attached nowhere is no layer (EINVAL before Linux 6.15)
        kernel.move_mount(mounted, place)
    return mounted


def _create(overlay: Overlay, layers: list[int], upper: int, work: int, attributes: int) -> int:
    """Return the descriptor of a detached mount. The kernel's words on a failure are the OSError's text."""
    fs_fd = kernel.fsopen("overlay")
    try:
        kernel.fsconfig_set_string(fs_fd, "source", "overlay")  # what mount(8) shows in its first column
        for layer in reversed(layers):
            _set_directory(fs_fd, "lowerdir+", layer)
        if upper >= 0:
            _set_directory(fs_fd, "upperdir", upper)
            _set_directory(fs_fd, "workdir", work)
        for name, value in _all_options(overlay):
            if value:
                kernel.fsconfig_set_string(fs_fd, name, value)
            else:
                kernel.fsconfig_set_flag(fs_fd, name)
        kernel.fsconfig_create(fs_fd)
        return kernel.fsmount(fs_fd, attributes)
    except OSError as error:
        said = kernel.kernel_messages(fs_fd)
        if said and error.errno != errno.ENOSYS:
            raise OSError(error.errno, said[-1].removeprefix("overlay: ").removeprefix("overlayfs: ")) from error
        raise
    finally:
        os.close(fs_fd)


def _set_directory(fs_fd: int, key: str, fd: int) -> None:
    try:
        kernel.fsconfig_set_fd(fs_fd, key, fd)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        # Before 6.13 the value is a text. This one is short, and has nothing to escape.
        kernel.fsconfig_set_string(fs_fd, key, f"/proc/self/fd/{fd}")


def _all_options(overlay: Overlay) -> Iterator[tuple[str, str]]:
    if overlay.userxattr:
        yield "userxattr", ""
    yield from overlay.options


def _mount_by_text(overlay: Overlay, opened: Opened, target: str, attributes: int) -> None:
    """The way of kernels without fsopen(2): names relative to /proc/self/fd, so that 500 of them fit into one page."""
    if len(opened.layers) > MAX_LOWER:
        raise Unsupported("mount", target, f"this kernel shows at most {MAX_LOWER} layers")
    short = Overlay(
        [str(fd) for fd in opened.layers],
        upper=str(opened.upper) if overlay.upper else "",
        work=str(opened.work) if overlay.upper else "",
        userxattr=overlay.userxattr,
        options=overlay.options,
    )
    flags = sum(flag for attribute, flag in kernel.ATTRIBUTE_FLAGS if attributes & attribute)
    absolute = os.path.abspath(target)
    here = os.open(".", os.O_PATH | os.O_CLOEXEC)
    try:
        os.chdir("/proc/self/fd")
        kernel.mount("overlay", absolute, "overlay", flags, short.option_text())
    finally:
        os.fchdir(here)
        os.close(here)


def _bind_read_only(source: str, target: str, attributes: int) -> None:
    # Where nothing is written no time of access is.
    wanted = attributes & ~(kernel.MOUNT_ATTR_NOATIME | kernel.MOUNT_ATTR_NODIRATIME) | kernel.MOUNT_ATTR_RDONLY
    try:
        bind(source, target, wanted, recursive=False)
    except OSError as error:
        raise Unsupported("mount", f"{source} read-only on {target}", error) from error


def bind(source: str, target: str, attributes: int, *, recursive: bool) -> None:
    """Bind `source` on `target` and add MOUNT_ATTR_ attributes, with `recursive` to all mounts below it."""
    deep = kernel.AT_RECURSIVE if recursive else 0
    try:
        tree = kernel.open_tree(kernel.AT_FDCWD, source, kernel.OPEN_TREE_CLONE | deep)
        try:
            if attributes:
                kernel.mount_setattr(tree, "", kernel.AT_EMPTY_PATH | deep, attributes)
            with _Path(target) as place:
                kernel.move_mount(tree, place)
        finally:
            os.close(tree)
    except OSError as error:
        if error.errno != errno.ENOSYS:
            raise
        _bind_by_flags(source, target, attributes, recursive)


def _bind_by_flags(source: str, target: str, attributes: int, recursive: bool) -> None:
    """The way before mount_setattr(2): a bind mount is remounted with its flags, mounts below it one at a time."""
    from lamina.linux.mountinfo import mount_points

    kernel.mount(source, target, "", kernel.MS_BIND | (kernel.MS_REC if recursive else 0))
    if not attributes:
        return
    flags = sum(flag for attribute, flag in kernel.ATTRIBUTE_FLAGS if attributes & attribute)
    with _Path(target) as place:
        top = os.readlink(f"/proc/self/fd/{place}")
    points = mount_points()
    made = {[point.id for point in points if point.path == top][-1]}  # not what it covers, which no path leads to
    for point in points:  # parents come first
        if recursive and point.parent in made:
            made.add(point.id)
        if point.id in made:
            # Flags that the mount has must be named again: in a user namespace they are locked (mount_namespaces(7)).
            kernel.mount("", point.path, "", kernel.MS_REMOUNT | kernel.MS_BIND | flags | _flags_of(point.options))


def _flags_of(options: list[str]) -> int:
    names = {
        "ro": kernel.MS_RDONLY,
        "nosuid": kernel.MS_NOSUID,
        "nodev": kernel.MS_NODEV,
        "noexec": kernel.MS_NOEXEC,
        "noatime": kernel.MS_NOATIME,
        "nodiratime": kernel.MS_NODIRATIME,
        "relatime": kernel.MS_RELATIME,
    }
    return sum(names.get(option, 0) for option in options)


class _Path:
    """An O_PATH descriptor of a path, following links, closed at the end of the block."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __enter__(self) -> int:
        self._fd = os.open(self._path, os.O_PATH | os.O_CLOEXEC)
        return self._fd

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)


def refusal(overlay: Overlay, target: str, error: OSError) -> LaminaError:
    """Return the error for people: what the kernel said, and what helps where that is known."""
    hint = ""
    if error.errno == errno.EPERM and os.geteuid() != 0:
        hint = "an ordinary user's mount lives in a namespace: lamina mount … -- COMMAND"
    elif error.errno == errno.EBUSY:
        hint = "another mount uses the upper or the work directory"
    elif error.errno == errno.ELOOP:
        hint = "no layer may lie inside another one"
    elif error.errno == errno.ENODEV:
        hint = "as root: modprobe overlay"
    reason = shown(error).partition("fsconfig: ")[2] or shown(error)
    return Unsupported("mount the overlay on", target, reason, hint)
