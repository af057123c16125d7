"""The marks that overlayfs leaves on disk: every spelling is read, one is written.

A mark is a property of one entry of a layer's directory: a whiteout hides the name in the layers below, an opaque
directory hides what lower directories of the same name hold, a redirect says where in the lower layers a directory (or
the data of a metacopy file) is to be looked up. This module looks at one entry at a time; what marks mean for a stack
is its caller's business. Nothing is followed, and names are bytes.

Spellings that are read (Documentation/filesystems/overlayfs.rst, fuse-overlayfs(1), OCI image-spec layer.md):

- whiteout: a character device 0:0; an empty regular file with the xattr `overlay.whiteout`, in a directory whose
  `overlay.opaque` is `x`, or that has `overlay.whiteouts` (Linux 6.7); a name that starts with `.wh.`
- opaque: the xattr `overlay.opaque` with `y`; `user.fuseoverlayfs.opaque` with `y`; an entry `.wh..wh..opq`
- each `overlay.` xattr in the spaces `trusted.` and `user.`

An `overlay.overlay.` xattr is the escaped form in which an overlay inside this one keeps its marks; it is not a mark of
this layer. What is written: the device (or the xattr whiteout where mknod is refused) and `overlay.opaque`.
"""

from __future__ import annotations

import errno
import os
import stat

from lamina.linux.xattr import getxattr, setxattr

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    #: How a directory treats lower directories of its name: merged with them (b""), hiding them (b"y"), or merged with
    #: them while entries of its own may be xattr whiteouts (b"x").
    Opacity = Literal[b"", b"y", b"x"]

#: The two xattr spaces: a mount by root in the first user namespace uses the first, a `userxattr` mount the second.
TRUSTED = "trusted.overlay."
USER = "user.overlay."

#: Our own mark of an upper's root: some directory in it is redirected.
REDIRECTS = b"redirects"

_SPACES = (b"trusted.overlay.", b"user.overlay.")
# Of lamina and fuse-overlayfs: opaque directories, and owners that stand beside the disk's (`recorded`).
_OURS = (b"user.lamina.", b"user.fuseoverlayfs.")
_CONTAINERS = b"user.containers.override_stat"
_FUSE_OPAQUE = b"user.fuseoverlayfs.opaque"

WHITEOUT_PREFIX = b".wh."
OPAQUE_NAME = b".wh..wh..opq"
#: Names of this kind belong to aufs's own bookkeeping (.wh..wh.plnk and so on) and stand for nothing.
META_PREFIX = b".wh..wh."


def is_whiteout(dirfd: int, name: bytes, st: os.stat_result, opacity: Opacity) -> bool:
    """Tell whether the entry `name` of `dirfd`, whose own state is `st`, is a whiteout device or an xattr whiteout.

    `opacity` is that of the directory (`opacity_of`). Names with `.wh.` are `whited_out_name`'s.
    """
    if is_whiteout_device(st):
        return True
    return (
        opacity == b"x" and not st.st_size and stat.S_ISREG(st.st_mode) and _mark(dirfd, b"whiteout", name) is not None
    )


def is_whiteout_device(st: os.stat_result) -> bool:
    """Tell whether `st` is the character device 0:0, a whiteout wherever it stands."""
    return st.st_rdev == 0 and stat.S_ISCHR(st.st_mode)


def whited_out_name(name: bytes) -> bytes | None:
    """Return NAME for `.wh.NAME`, and None for every other name; aufs's bookkeeping names are no whiteouts.

    A bare `.wh.` gives b"", which no reader should accept.
    """
    if not name.startswith(WHITEOUT_PREFIX) or name.startswith(META_PREFIX):
        return None
    return name[len(WHITEOUT_PREFIX) :]


def opacity_of(fd: int, *, at: bytes = b"") -> Opacity:
    """Return how the directory `fd`, or the directory `at` in it, treats lower directories of its name."""
    value = _mark(fd, b"opaque", at)
    if value == b"y":
        return b"y"
    if _present(fd, at + b"/" + OPAQUE_NAME if at else OPAQUE_NAME) or fuse_opaque(fd, at=at):
        return b"y"
    return b"x" if value == b"x" or _mark(fd, b"whiteouts", at) is not None else b""


def fuse_opaque(fd: int, *, at: bytes = b"") -> bool:
    """Tell whether the directory is opaque by fuse-overlayfs's own mark, which the kernel does not read."""
    return _get(fd, _FUSE_OPAQUE, at) == b"y"


def redirect_of(fd: int, *, at: bytes = b"") -> bytes | None:
    """Return where the lower layers hold this directory or metacopy file, or None where it is at its own name.

    A value that starts with `/` is a path from the root of the stack; any other is a name beside the entry's own, in
    the lower directory that the entry's directory is merged with. EINVAL for a value that can be neither.
    """
    value = _mark(fd, b"redirect", at)
    if value is None:
        return None
    if not is_redirect(value):
        raise OSError(errno.EINVAL, "the overlay redirect is not a path in the stack", os.fsdecode(value))
    return value


def is_redirect(value: bytes) -> bool:
    """Tell whether a redirect's value is one: a path from the root of the stack, or a name."""
    absolute = value.startswith(b"/")
    parts = value[1:].split(b"/") if absolute else [value]
    return b"/" not in parts[0] and b"\0" not in value and not any(part in (b"", b".", b"..") for part in parts)


def has_redirects(fd: int, space: str) -> bool:
    """Tell whether the root `fd` of an upper says that directories in it are redirected, by marks of `space`.

    This mark is ours (docs/formats/upper.md): whoever mounts an upper can ask for it without looking at all of it.
    """
    return _get(fd, space.encode() + REDIRECTS, b"") is not None


def is_metacopy(fd: int, *, at: bytes = b"") -> bool:
    """Tell whether the regular file holds metadata alone, its data being in a lower layer."""
    return _mark(fd, b"metacopy", at) is not None


def is_mark(attribute: bytes) -> bool:
    """Tell whether the xattr is overlayfs's own (marks, origin, impure, escaped ones), so not part of the content."""
    return attribute.startswith(_SPACES) or attribute.startswith(_OURS) or attribute == _CONTAINERS


def write_whiteout(dirfd: int, name: bytes, space: str) -> None:
    """Make `name`, which does not exist in `dirfd`, a whiteout: the device, or the xattr form where mknod is refused.

    The xattr form (Linux 6.7) marks `dirfd` with opaque=x, and raises EINVAL where the directory is opaque already:
    such a directory needs no whiteouts.
    """
    try:
        os.mknod(name, stat.S_IFCHR, 0, dir_fd=dirfd)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EACCES, errno.EOPNOTSUPP):
            raise
        write_xattr_whiteout(dirfd, name, space)


def write_xattr_whiteout(dirfd: int, name: bytes, space: str) -> None:
    """Make `name`, which does not exist in `dirfd`, an empty file that is a whiteout by its xattr."""
    prefix = space.encode()
    if getxattr(dirfd, prefix + b"opaque") == b"y":
        raise OSError(errno.EINVAL, "an opaque directory needs no whiteout", os.fsdecode(name))
    os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=dirfd))
    setxattr(dirfd, prefix + b"whiteout", b"y", at=name)
    setxattr(dirfd, prefix + b"opaque", b"x")


def set_opaque(fd: int, space: str, *, at: bytes = b"") -> None:
    """Make the directory `fd`, or the directory `at` in it, hide lower directories of its name."""
    setxattr(fd, space.encode() + b"opaque", b"y", at=at)


def _mark(fd: int, mark: bytes, at: bytes) -> bytes | None:
    for space in _SPACES:
        value = _get(fd, space + mark, at)
        if value is not None:
            return value
    return None


def _get(fd: int, attribute: bytes, at: bytes) -> bytes | None:
    try:
        return getxattr(fd, attribute, at=at)
    except PermissionError:
        # user.* attributes of what may not be read, of a device or of a symbolic link: none can be set there either.
        return None


def _present(fd: int, name: bytes) -> bool:
    try:
        os.stat(name, dir_fd=fd, follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError, PermissionError):  # in a directory of somebody else, unknown
        return False
    return True
