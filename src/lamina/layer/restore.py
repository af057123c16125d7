"""Giving a file that was just made its owner, mode, xattrs and times, or writing down what cannot be given.

Order matters: chown clears set-id bits and `security.capability`, and everything but the times changes the times.
"""

from __future__ import annotations

import errno
import os

from lamina.errors import InvalidInput
from lamina.layer.owners import Owner, Owners, check_id
from lamina.linux.xattr import setxattr
from lamina.overlay import format as marks
from lamina.tar.entry import FILE, SYMLINK, Entry

CAPABILITY = b"security.capability"
#: Labels belong to the host's policy, not to the content.
SKIPPED = (b"security.selinux",)
_ACL = b"system.posix_acl_"

# What setxattr answers where this file system, this kind of file or this user namespace does not have the attribute.
_REFUSED = (errno.EPERM, errno.EACCES, errno.EOPNOTSUPP, errno.EINVAL)


class Restorer:
    """Restores metadata by one of two policies, and keeps the table of what could not be restored.

    Exact (`single_id` false): owners are the archive's, mapped by the kernel where the process is in a user namespace.
    Single: all files have the process's own ids, the archive's are written down.
    """

    def __init__(self, *, single_id: bool) -> None:
        self.single_id = single_id
        self._ids = (os.geteuid(), os.getegid())
        self.owners: Owners = {}
        #: Names of xattrs that were refused here, with how often; they are in the table.
        self.refused: dict[bytes, int] = {}

    def on_fd(self, fd: int, entry: Entry, path: bytes) -> None:
        """Restore what the descriptor stands for: a regular file, or a directory whose content is complete."""
        if self._changes_owner(entry, path):
            try:
                os.fchown(fd, entry.uid, entry.gid)
            except OSError as error:
                raise _unmapped(error, entry, path) from error
        os.fchmod(fd, self._mode(entry, path))
        if entry.xattrs:
            self._set_xattrs(fd, b"", entry, path)
        os.utime(fd, ns=(entry.mtime, entry.mtime))

    def on_name(self, parent: int, name: bytes, entry: Entry, path: bytes) -> None:
        """Restore the entry `name` of the directory `parent`, which we just made: no other process replaces it."""
        if self._changes_owner(entry, path):
            try:
                os.chown(name, entry.uid, entry.gid, dir_fd=parent, follow_symlinks=False)
            except OSError as error:
                raise _unmapped(error, entry, path) from error
        if entry.kind != SYMLINK:
            os.chmod(name, self._mode(entry, path), dir_fd=parent)
        if entry.xattrs:
            self._set_xattrs(parent, name, entry, path)
        os.utime(name, ns=(entry.mtime, entry.mtime), dir_fd=parent, follow_symlinks=False)

    def note_device(self, path: bytes, entry: Entry) -> None:
        """Write down that the empty file at `path` stands for a device."""
        self._note(path, entry).device = (entry.kind, entry.major, entry.minor)

    def note_link(self, path: bytes, target: bytes) -> None:
        """Write down that `path` is another name of `target`."""
        if target in self.owners:
            self.owners[path] = self.owners[target]

    def forget(self, path: bytes, *, is_directory: bool) -> None:
        """Take back what was written down of `path` and of what is below it."""
        self.owners.pop(path, None)
        if not is_directory:
            return
        below = path + b"/"
        for known in [known for known in self.owners if known.startswith(below)]:
            del self.owners[known]

    def _note(self, path: bytes, entry: Entry) -> Owner:
        return self.owners.setdefault(path, Owner(entry.uid, entry.gid))

    def _changes_owner(self, entry: Entry, path: bytes) -> bool:
        """Check the owner and tell whether chown is to give it; write it down where it cannot be given."""
        uid, gid = entry.uid, entry.gid
        if not self.single_id and (uid, gid) == self._ids:
            return False
        check_id(uid, "apply", path, "user id")
        check_id(gid, "apply", path, "group id")
        if not self.single_id:
            return True
        if entry.uid or entry.gid:
            self._note(path, entry)
        return False

    def _mode(self, entry: Entry, path: bytes) -> int:
        """Return the mode for the disk: without the set-id bits of a program whose owner is not expressed there."""
        mode = entry.mode
        if self.single_id and entry.kind == FILE and mode & 0o6000:
            mode &= ~((0o4000 if entry.uid else 0) | (0o2000 if entry.gid else 0))
            if mode != entry.mode:
                self._note(path, entry).mode = entry.mode
        return mode

    def _set_xattrs(self, fd: int, at: bytes, entry: Entry, path: bytes) -> None:
        # False sorts before True: the capability comes last.
        for name in sorted(entry.xattrs, key=lambda name: (name == CAPABILITY, name)):
            if marks.is_mark(name) or name in SKIPPED:
                continue
            value = entry.xattrs[name]
            try:
                setxattr(fd, name, value, at=at)
            except (OSError, ValueError) as error:
                if not isinstance(error, OSError) or error.errno not in _REFUSED:
                    raise InvalidInput("apply", path, f"its xattr {name!r} is refused: {error}") from error
                if error.errno == errno.EINVAL and name.startswith(_ACL) and not self.single_id:
                    raise InvalidInput(
                        "apply", path, "its access control list is malformed or names an id outside the id map", _HINT
                    ) from error
                self.refused[name] = self.refused.get(name, 0) + 1
                self._note(path, entry).xattrs[name] = value


_HINT = "give your user a larger range in /etc/subuid and /etc/subgid (usermod --add-subuids), or run as root"


def _unmapped(error: OSError, entry: Entry, path: bytes) -> Exception:
    # EINVAL: the id has no counterpart in the user namespace (chown(2) as seen in user_namespaces(7)).
    if error.errno != errno.EINVAL:
        return error
    return InvalidInput("apply", path, f"its owner {entry.uid}:{entry.gid} is outside the id map", _HINT)
