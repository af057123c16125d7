"""Making new entries in the upper: files, directories, links and devices, with their owner and mode."""

from __future__ import annotations

import errno
import os
import stat

from lamina.overlay.union.branch import join
from lamina.overlay.union.node import Directory
from lamina.overlay.union.upper import Upper, exchange

_DEFAULT_ACL = "system.posix_acl_default"


class Spec:
    """What is to be made: `mode` with its type, `rdev` of a device, `target` of a symbolic link.

    `owner` is (uid, gid), or None for whatever the kernel gives to this process. `umask` is taken off the mode unless
    the directory has a default ACL; None where the process's own umask is to act.
    """

    __slots__ = ("mode", "owner", "rdev", "target", "umask")

    def __init__(
        self,
        mode: int,
        *,
        rdev: int = 0,
        target: bytes = b"",
        owner: tuple[int, int] | None = None,
        umask: int | None = None,
    ) -> None:
        self.mode = mode
        self.rdev = rdev
        self.target = target
        self.owner = owner
        self.umask = umask


def make(upper: Upper, parent: Directory, name: bytes, spec: Spec, *, whiteout: bool, opaque: bool) -> None:
    """Make the entry in the upper directory of `parent`; over the whiteout that stands there, in one step.

    With `opaque` the new directory hides the lower ones of its name.
    """
    if spec.umask is not None and not default_acl(upper, parent):
        spec.mode &= ~(spec.umask & 0o777)
    if not whiteout:
        path = join(parent.upper_path(), name)
        with upper.branch.near(path) as (fd, short):
            _make_at(upper, fd, short, spec)
            if spec.owner is not None:
                _own(upper, fd, short, spec, lambda: upper.branch.stat(parent.upper_path()))
        if opaque:
            upper.set_mark(upper.branch, path, b"opaque", b"y")
        return
    _make_over_whiteout(upper, parent, name, spec, opaque)


def _make_over_whiteout(upper: Upper, parent: Directory, name: bytes, spec: Spec, opaque: bool) -> None:
    above = upper.branch.stat(parent.upper_path())
    with upper.staged() as folder:
        # A directory of its own, like the parent in all that a new entry inherits.
        os.mkdir(folder, 0o700, dir_fd=upper.work.fd)
        if acl := default_acl(upper, parent):
            upper.set_xattr(upper.work, folder, os.fsencode(_DEFAULT_ACL), acl)
        if above.st_mode & stat.S_ISGID:
            upper.owners.chown(upper.work.fd, folder, -1, above.st_gid)
            os.chmod(folder, 0o2700, dir_fd=upper.work.fd)
        temp = folder + b"/new"
        _make_at(upper, upper.work.fd, temp, spec)
        if spec.owner is not None:
            _own(upper, upper.work.fd, temp, spec, lambda: above)
        path = join(parent.upper_path(), name)
        if stat.S_ISDIR(spec.mode):
            if opaque:
                upper.set_mark(upper.work, temp, b"opaque", b"y")
            exchange(upper, temp, path)
        else:
            upper.publish(temp, path)
    upper.discard(folder)


def _make_at(upper: Upper, fd: int, name: bytes, spec: Spec) -> None:
    mode = spec.mode
    if stat.S_ISDIR(mode):
        os.mkdir(name, stat.S_IMODE(mode), dir_fd=fd)
    elif stat.S_ISLNK(mode):
        os.symlink(spec.target, name, dir_fd=fd)
    elif stat.S_ISCHR(mode) and not spec.rdev:
        raise OSError(errno.EPERM, "the device 0:0 is a whiteout in a layer", os.fsdecode(name))
    else:
        upper.owners.mknod(fd, name, mode, spec.rdev)


def _own(upper: Upper, fd: int, name: bytes, spec: Spec, above: object) -> None:
    assert callable(above)
    uid, gid = spec.owner or (-1, -1)
    if (uid, gid) == upper.owners.own():
        return
    if above().st_mode & stat.S_ISGID:
        gid = -1  # it has the group of its directory already
    upper.owners.chown(fd, name, uid, gid)
    if spec.mode & (stat.S_ISUID | stat.S_ISGID) and stat.S_ISREG(spec.mode):
        upper.owners.chmod(fd, name, stat.S_IMODE(spec.mode))  # chown takes these bits away


def default_acl(upper: Upper, parent: Directory) -> bytes:
    """Return the default ACL of a directory of the upper, as its attribute's value; b"" for none."""
    if parent.default_acl is None:
        with upper.branch.proc_path(parent.upper_path()) as proc:
            try:
                parent.default_acl = os.getxattr(proc, _DEFAULT_ACL, follow_symlinks=False)
            except OSError:  # none set, or no ACLs on this file system
                parent.default_acl = b""
    return parent.default_acl
