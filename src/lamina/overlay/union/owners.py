"""Owners that are not simply the disk's: ids mapped or squashed, owners kept in an xattr, layers of somebody else.

What is asked for is said by options of the overlay (`read_options`):

- `uidmapping=DISK:UNION:COUNT[:DISK:UNION:COUNT…]`, `gidmapping=…`: ids on disk are others in the union; what is
  outside of all ranges is the overflow id (65534). The text and its meaning are fuse-overlayfs's.
- `squash_to_root`, `squash_to_uid=ID`, `squash_to_gid=ID`: every entry belongs to that id, and changing the owner
  changes nothing.
- `owners=xattr`: an owner that cannot be set, or would not be shown, is recorded (`lamina.overlay.recorded`), and so
  are devices that cannot be made, set-id bits of other owners, and modes that would lock this process out.
- `foreign`: the layers belong to somebody else, the machine's root perhaps. Their entries are shown as root's, what
  the copy may not have of them (labels, ACLs of ids that are not here) is left out, and what this process may not
  read is shown empty, and begins empty when it is written to.
- `hide=PATH`, repeated: this absolute path of the machine is not there.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lamina.errors import UsageError
from lamina.overlay import recorded
from lamina.overlay.options import OWNERS
from lamina.overlay.recorded import Record
from lamina.overlay.union.branch import Branch, Scan, join

if TYPE_CHECKING:
    from lamina.overlay.format import Opacity

_REFUSED = (errno.EPERM, errno.EINVAL, errno.EACCES)
_MAX_ID = 0xFFFFFFFE
_SET_ID = stat.S_ISUID | stat.S_ISGID
_ABSENT = (errno.ENODATA, errno.EOPNOTSUPP, errno.EPERM)


class Ranges:
    """A map of ids, as ranges (on disk, in the union, count)."""

    __slots__ = ("_ranges", "_rest")

    def __init__(self, ranges: list[tuple[int, int, int]], rest: int) -> None:
        self._ranges = ranges
        self._rest = rest

    def shown(self, disk: int) -> int:
        """Return the id in the union of an id on disk."""
        if not self._ranges:
            return disk
        return next((to + disk - host for host, to, count in self._ranges if host <= disk < host + count), self._rest)

    def on_disk(self, union: int) -> int | None:
        """Return the id on disk of an id in the union; None where there is none."""
        if not self._ranges or union < 0:
            return union
        return next((host + union - to for host, to, count in self._ranges if to <= union < to + count), None)


class Owners:
    """How owners, modes and devices of the union stand on disk. Without options: as they are."""

    __slots__ = ("_squash", "foreign", "gids", "hidden", "plain", "records", "uids")

    def __init__(
        self,
        *,
        uids: Ranges | None = None,
        gids: Ranges | None = None,
        squash: tuple[int, int] = (-1, -1),
        records: bool = False,
        foreign: bool = False,
        hidden: frozenset[bytes] = frozenset(),
    ) -> None:
        self.uids = uids or Ranges([], 0)
        self.gids = gids or Ranges([], 0)
        self._squash = squash
        self.records = records
        self.foreign = foreign
        self.hidden = hidden
        #: Nothing differs from the disk, but perhaps in foreign layers.
        self.plain = uids is None and gids is None and squash == (-1, -1) and not records

    def branch(self, root: str | bytes, index: int, *, lower: bool) -> Branch:
        """Return the branch of a layer, or of an upper or a work directory, as the union is to see it."""
        if lower and (self.foreign or self.hidden):
            return HostBranch(root, index, self)
        return Branch(root, index) if self.plain else OwnedBranch(root, index, self)

    # Reading.

    def shown(self, st: os.stat_result, record: Record | None) -> os.stat_result:
        """Return the state as the union shows it."""
        if record is not None:
            return recorded.apply(st, record)
        uid, gid = self._shown_ids(st.st_uid, st.st_gid)
        return st if (uid, gid) == (st.st_uid, st.st_gid) else recorded.changed_state(st, uid, gid, st.st_mode)

    def _shown_ids(self, uid: int, gid: int) -> tuple[int, int]:
        to_uid, to_gid = self._squash
        return self.uids.shown(uid) if to_uid < 0 else to_uid, self.gids.shown(gid) if to_gid < 0 else to_gid

    def own(self) -> tuple[int, int]:
        """Return the owner in the union of what this process makes."""
        return self._shown_ids(os.geteuid(), os.getegid())

    # Writing. An entry is `path` from the directory `fd`, never followed, or with None a path below /proc that is.

    def chown(self, fd: int | None, path: bytes, uid: int, gid: int) -> None:
        """Set owner and group in the union; -1 leaves one as it is."""
        if self.plain:
            os.chown(path, uid, gid, dir_fd=fd, follow_symlinks=fd is None)
            return
        if self._squash == (-1, -1):
            try:
                self._chown_on_disk(fd, path, uid, gid)
            except OSError as error:
                if not self.records or error.errno not in _REFUSED:
                    raise
            else:
                return
        if self.records:
            self._record_owner(fd, path, uid, gid)

    def _chown_on_disk(self, fd: int | None, path: bytes, uid: int, gid: int) -> None:
        disk = self.uids.on_disk(uid), self.gids.on_disk(gid)
        if disk[0] is None or disk[1] is None:
            raise OSError(errno.EINVAL, "the id is not in the map", os.fsdecode(path))
        record = self._record_of(fd, path)
        os.chown(path, disk[0], disk[1], dir_fd=fd, follow_symlinks=fd is None)
        if record is not None:  # the disk would not be believed
            self._record_owner(fd, path, uid, gid)

    def _record_owner(self, fd: int | None, path: bytes, uid: int, gid: int) -> None:
        real = os.stat(path, dir_fd=fd, follow_symlinks=fd is None)
        st = self.shown(real, self._record_of(fd, path))
        mode = stat.S_IMODE(st.st_mode)
        if not stat.S_ISDIR(st.st_mode):  # chown(2)
            mode &= ~(stat.S_ISUID | (stat.S_ISGID if mode & stat.S_IXGRP else 0))
        kind = stat.S_IFMT(st.st_mode)
        device = (kind, st.st_rdev) if kind != stat.S_IFMT(real.st_mode) else (0, 0)
        record = Record(st.st_uid if uid < 0 else uid, st.st_gid if gid < 0 else gid, mode, *device)
        self._write(fd, path, real, record)

    def chmod(self, fd: int | None, path: bytes, mode: int) -> None:
        """Set the permission bits; what the disk may not have of them is recorded."""
        if self.records:
            real = os.stat(path, dir_fd=fd, follow_symlinks=fd is None)
            record = self._record_of(fd, path)
            if record is not None:
                record.mode = mode
            elif self._locks_out(real, mode):
                st = self.shown(real, None)
                record = Record(st.st_uid, st.st_gid, mode)
            if record is not None:
                self._write(fd, path, real, record)
                return
        os.chmod(path, mode, dir_fd=fd)

    def _locks_out(self, real: os.stat_result, mode: int) -> bool:
        needed = _needed(real)
        return os.geteuid() != 0 and mode & needed != needed

    def mknod(self, fd: int, name: bytes, mode: int, rdev: int) -> None:
        """Make a file, fifo, socket or device; a device that is refused is recorded."""
        try:
            os.mknod(name, mode, rdev, dir_fd=fd)
        except PermissionError:
            if not self.records or stat.S_IFMT(mode) not in (stat.S_IFCHR, stat.S_IFBLK):
                raise
            os.mknod(name, stat.S_IFREG | 0o600, 0, dir_fd=fd)
            record = Record(*self.own(), stat.S_IMODE(mode), stat.S_IFMT(mode), rdev)
            self._write(fd, name, os.stat(name, dir_fd=fd, follow_symlinks=False), record)

    def _record_of(self, fd: int | None, path: bytes) -> Record | None:
        try:
            value = os.getxattr(_by_path(fd, path), recorded.ATTRIBUTE, follow_symlinks=fd is None)
        except OSError as error:
            if error.errno not in _ABSENT:
                raise
            return None if fd is None else recorded.read(fd, at=path)  # another spelling
        return recorded.parse(value)

    def _write(self, fd: int | None, path: bytes, real: os.stat_result, record: Record) -> None:
        """Write the record, and give the disk a mode that helps nobody whom the recorded one does not."""
        if stat.S_IFMT(real.st_mode) not in (stat.S_IFREG, stat.S_IFDIR):
            return  # xattr(7): links, fifos and sockets have no user attributes; their owner stays the disk's
        os.setxattr(_by_path(fd, path), recorded.ATTRIBUTE, record.text(), follow_symlinks=fd is None)
        if not record.kind:
            os.chmod(path, record.mode & ~_SET_ID | _needed(real), dir_fd=fd)


class OwnedBranch(Branch):
    """A branch whose entries have the owners that `owners` makes of them."""

    __slots__ = ("_owners",)

    def __init__(self, root: str | bytes, index: int, owners: Owners) -> None:
        super().__init__(root, index)
        self._owners = owners

    def stat(self, path: bytes) -> os.stat_result:
        st = super().stat(path)
        with self.near(path) as (fd, name):
            return self._owners.shown(st, _record_of(st, fd, name))

    def fstat(self, fd: int) -> os.stat_result:
        st = super().fstat(fd)
        return self._owners.shown(st, _record_of(st, fd, b""))


class HostBranch(Branch):
    """A lower layer that is a part of this machine, mounts and all; with `owners.foreign` it is somebody else's.

    Then all of it is root's but what is recorded otherwise, or what `owners` squash it to.
    """

    __slots__ = ("_hidden", "_owners")

    def __init__(self, root: str | bytes, index: int, owners: Owners) -> None:
        super().__init__(root, index)
        self.foreign = owners.foreign
        above = os.fsencode(root).rstrip(b"/") + b"/"
        self._hidden = {path[len(above) :] for path in owners.hidden if path.startswith(above)}
        self._owners = owners

    def stat(self, path: bytes) -> os.stat_result:
        st = super().stat(path)
        if self.foreign and not st.st_mode & stat.S_IROTH and stat.S_ISREG(st.st_mode) and st.st_size:
            with self.proc_path(path) as proc:
                # Empty from the start, since a kernel that knows a size appends behind it.
                if not os.access(proc, os.R_OK, effective_ids=True):
                    st = recorded.emptied(st)
        if not self._owners.plain:
            with self.near(path) as (fd, name):
                return self._owners.shown(st, _record_of(st, fd, name))
        return recorded.changed_state(st, 0, 0, st.st_mode) if self.foreign and (st.st_uid or st.st_gid) else st

    def handle(self, path: bytes) -> tuple[int, bytes] | None:
        # What is mounted inside the layer has handles of another file system, which would be taken for this one's.
        return super().handle(path) if super().stat(path).st_dev == self.device else None

    def scan(self, path: bytes, opacity: Opacity) -> Scan:
        if self.foreign:
            with self.proc_path(path) as proc:
                if not os.access(proc, os.R_OK | os.X_OK, effective_ids=True):
                    closed = Scan()
                    closed.unreadable = True
                    return closed
        found = super().scan(path, opacity)
        if self._hidden:
            for name in [name for name in found.entries if join(path, name) in self._hidden]:
                del found.entries[name]
        return found


def _record_of(st: os.stat_result, fd: int, name: bytes) -> Record | None:
    return recorded.read(fd, at=name) if stat.S_IFMT(st.st_mode) in (stat.S_IFREG, stat.S_IFDIR) else None


def _needed(real: os.stat_result) -> int:
    """Return the bits without which an ordinary user is locked out of its own file."""
    return 0o700 if stat.S_ISDIR(real.st_mode) else 0o600


def _by_path(fd: int | None, path: bytes) -> bytes:
    return path if fd is None else b"/proc/self/fd/%d/%b" % (fd, path)


def read_options(options: Sequence[tuple[str, str]]) -> Owners:
    """Return what options of an overlay ask for; UsageError for a value that cannot be."""
    given = {name: value for name, value in options if name in OWNERS}
    root = 0 if "squash_to_root" in given else -1
    squash = [_id(given, f"squash_to_{kind}", root) for kind in ("uid", "gid")]
    if "owners" in given and given["owners"] != "xattr":
        raise _unfit("owners", given["owners"], "xattr is the only other place than the disk")
    return Owners(
        uids=_ranges(given, "uidmapping"),
        gids=_ranges(given, "gidmapping"),
        squash=(squash[0], squash[1]),
        records="owners" in given,
        foreign="foreign" in given,
        hidden=frozenset(os.fsencode(value) for name, value in options if name == "hide"),
    )


def _id(given: dict[str, str], name: str, default: int) -> int:
    value = given.get(name)
    if value is None:
        return default
    if not value.isdecimal() or int(value) > _MAX_ID:
        raise _unfit(name, value, "it is not an id")
    return int(value)


def _ranges(given: dict[str, str], name: str) -> Ranges | None:
    if name not in given:
        return None
    fields = given[name].split(":")
    if len(fields) % 3 or not all(field.isdecimal() and int(field) <= _MAX_ID + 1 for field in fields):
        raise _unfit(name, given[name], "it is not made of DISK:UNION:COUNT")
    numbers = [int(field) for field in fields]
    return Ranges(list(zip(numbers[::3], numbers[1::3], numbers[2::3], strict=True)), _overflow(name[:3]))


def _overflow(kind: str) -> int:
    try:
        with open(f"/proc/sys/kernel/overflow{kind}", encoding="ascii") as file:
            return int(file.read())
    except (OSError, ValueError):
        return 65534


def _unfit(name: str, value: str, reason: str) -> UsageError:
    return UsageError("read the option", f"{name}={value}" if value else name, reason)
