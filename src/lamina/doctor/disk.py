"""The store's place on disk: whether it can be written, holds what layers need, and has room."""

from __future__ import annotations

import errno
import os
import stat

from lamina.doctor.identity import RANGE, USER, as_user
from lamina.doctor.values import Host, Missing, Probe, everywhere
from lamina.linux import files, xattr
from lamina.linux.mountinfo import mount_points
from lamina.linux.namespaces import in_first_user_namespace
from lamina.overlay import format as marks
from lamina.store.layout import open_existing

STORE, ROOM, XATTRS = "store", "room in the store", "extended attributes"
_ROOM = 1 << 20  # bytes that a container's start and records take, with much to spare
_NAMES = 64  # inodes, likewise


def probes(host: Host) -> list[Probe]:
    """Return the probes of the store's directory and its file system."""
    ranged = host.ids.kind == "range"
    inside = (USER, RANGE) if ranged else (USER,)
    return [
        Probe(STORE, "images and containers", _store, needed=True),
        Probe(ROOM, "all that is kept", _room, needed=True, after=(STORE,)),
        Probe(XATTRS, "marks of layers", _attributes, needed=True, after=(*inside, STORE, ROOM)),
        Probe("whiteouts", "deleted names in layers", _whiteouts, after=(*inside, STORE, ROOM)),
        Probe("owners", "files of other users", _owners, needed=ranged, after=(*inside, STORE, ROOM)),
        Probe("reflinks", "copies that take no room", _reflinks, after=(STORE, ROOM)),
    ]


def _directory(host: Host, name: str) -> str:
    path = f"{host.scratch}/{name}"
    os.mkdir(path)
    return path


def _store(host: Host) -> str:
    layout = open_existing(host.store, host.ids)
    if not host.scratch:
        raise Missing(host.no_scratch)
    return f"{host.store} {'can be used' if layout else 'can be made'}, on {_file_system(host.scratch)}"


def _file_system(path: str) -> str:
    """Return the kind of file system that holds `path`."""
    device = os.stat(path).st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    return next((point.fstype for point in mount_points() if point.device == number), "an unknown file system")


def _room(host: Host) -> str:
    place = _directory(host, "room")
    prune = everywhere("lamina prune")
    try:
        with open(f"{place}/data", "xb") as file:
            file.write(b"x" * _ROOM)
            file.flush()
            os.fsync(file.fileno())
        for number in range(_NAMES):
            os.close(os.open(f"{place}/{number}", os.O_CREAT | os.O_EXCL | os.O_CLOEXEC))
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise Missing(f"{error.strerror}: {_free(place)}", prune) from error
    return _free(place)


def _free(path: str) -> str:
    room = os.statvfs(path)
    # Some file systems make inodes as they go, and say that they have none.
    names = f", {room.f_favail} inodes" if room.f_files else ""
    return f"{room.f_bavail * room.f_frsize / 1e9:.1f} GB{names} free"


def _attributes(host: Host) -> str:
    as_user(host)
    place = os.open(_directory(host, "xattr"), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    space = b"trusted." if in_first_user_namespace() else b"user."
    try:
        xattr.setxattr(place, space + b"lamina", b"1")
    except OSError as error:
        raise Missing(f"no {space.decode()}* on {_file_system(host.scratch)}: {error.strerror}") from error
    return f"{space.decode()}* can be set"


def _whiteouts(host: Host) -> str:
    as_user(host)
    place = os.open(_directory(host, "whiteouts"), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    space = marks.TRUSTED if in_first_user_namespace() else marks.USER
    try:
        marks.write_whiteout(place, b"gone", space)
    except OSError as error:
        raise Missing(f"neither device 0:0 nor xattr can be made: {error.strerror}") from error
    device = stat.S_ISCHR(os.stat("gone", dir_fd=place, follow_symlinks=False).st_mode)
    return "device 0:0 can be made" if device else "as xattrs, since device 0:0 is refused"


def _owners(host: Host) -> str:
    as_user(host)
    place = _directory(host, "owners")
    if host.ids.kind == "single":
        return "all files are this user's; others are kept in tables"
    path = f"{place}/file"
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC))
    os.chown(path, 1, 1)
    status = os.stat(path)
    os.unlink(path)  # its owner, who is nobody to this user outside the namespace, must not keep it
    if (status.st_uid, status.st_gid) != (1, 1):
        raise Missing(f"{_file_system(place)} takes an owner and forgets it")
    return "files can be given away"


def _reflinks(host: Host) -> str:
    place = _directory(host, "reflinks")
    with open(f"{place}/one", "x+b") as one, open(f"{place}/two", "x+b") as two:
        one.write(b"x" * 65536)
        one.flush()
        if not files.reflink(one.fileno(), two.fileno()):
            raise Missing(f"{_file_system(place)} has none; files are copied")
    return "files can share their blocks"
