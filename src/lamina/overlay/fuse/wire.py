"""The FUSE wire protocol as a table: operation codes, structures, flags, and packing of attributes and entries.

Numbers and layouts are those of linux/fuse.h, protocol 7.40; all integers are in the byte order of the machine. What a
request means is fuse(4)'s and the kernel's documentation's business.
"""

from __future__ import annotations

import os
import struct

#: The protocol that is spoken: what INIT answers. The kernel speaks down to it.
MAJOR, MINOR = 7, 40

LOOKUP, FORGET, GETATTR, SETATTR, READLINK, SYMLINK = 1, 2, 3, 4, 5, 6
MKNOD, MKDIR, UNLINK, RMDIR, RENAME, LINK = 8, 9, 10, 11, 12, 13
OPEN, READ, WRITE, STATFS, RELEASE, FSYNC = 14, 15, 16, 17, 18, 20
SETXATTR, GETXATTR, LISTXATTR, REMOVEXATTR, FLUSH, INIT = 21, 22, 23, 24, 25, 26
OPENDIR, READDIR, RELEASEDIR, FSYNCDIR, ACCESS, CREATE = 27, 28, 29, 30, 34, 35
INTERRUPT, DESTROY, IOCTL, BATCH_FORGET, FALLOCATE = 36, 38, 39, 42, 43
READDIRPLUS, RENAME2, LSEEK, COPY_FILE_RANGE, SYNCFS, TMPFILE = 44, 45, 46, 47, 50, 51

ROOT = 1  # the node id of the root

# Flags of INIT.
ASYNC_READ = 1 << 0
BIG_WRITES = 1 << 5
DONT_MASK = 1 << 6
DO_READDIRPLUS = 1 << 13
ASYNC_DIO = 1 << 15
NO_OPEN_SUPPORT = 1 << 17
PARALLEL_DIROPS = 1 << 18
POSIX_ACL = 1 << 20
MAX_PAGES = 1 << 22
CACHE_SYMLINKS = 1 << 23
NO_OPENDIR_SUPPORT = 1 << 24
HANDLE_KILLPRIV_V2 = 1 << 28
SETXATTR_EXT = 1 << 29
INIT_EXT = 1 << 30
PASSTHROUGH = 1 << 37

# Which fields of SETATTR are meant.
FATTR_MODE, FATTR_UID, FATTR_GID, FATTR_SIZE, FATTR_ATIME, FATTR_MTIME = 1, 2, 4, 8, 16, 32
FATTR_ATIME_NOW, FATTR_MTIME_NOW, FATTR_KILL_SUIDGID = 1 << 7, 1 << 8, 1 << 11

WRITE_KILL_SUIDGID = 1 << 2

# How the kernel is to treat an open file: without its cache, keeping its pages from before, by itself.
FOPEN_DIRECT_IO, FOPEN_KEEP_CACHE, FOPEN_PASSTHROUGH = 1 << 0, 1 << 1, 1 << 7

# Messages that nobody asked for stand where replies have their errno.
NOTIFY_INVAL_INODE, NOTIFY_INVAL_ENTRY = 2, 3
SETXATTR_ACL_KILL_SGID = 1 << 0

HEADER_IN = struct.Struct("=IIQQIIIHH")  # length, opcode, unique, node, uid, gid, pid, length of extensions / 8, -
HEADER_OUT = struct.Struct("=IiQ")  # length, -errno, unique
INIT_IN = struct.Struct("=IIIII")  # major, minor, max_readahead, flags, flags2 (zeros before 7.36)
# major, minor, max_readahead, flags, max_background, congestion_threshold, max_write, time_gran, max_pages,
# map_alignment, flags2, max_stack_depth, request_timeout
INIT_OUT = struct.Struct("=IIIIHHIIHHIIH22x")

# Where attributes stand, in this order: ino, size, blocks, a/m/ctime, a/m/ctime ns, mode, nlink, uid, gid, rdev,
# blksize, flags. Their seconds are signed.
ATTR_OUT = struct.Struct("=QII3Q3q10I")  # seconds of validity, ns, -, attributes
# node, generation, seconds for the name, for the attributes, ns of each, attributes
ENTRY_OUT = struct.Struct("=QQQQII3Q3q10I")
DIRENT = struct.Struct("=QQII")  # ino, offset of the next, length of the name, type; the name follows, padded to 8
DIRENT_PLUS = struct.Struct("=QQQQII3Q3q10IQQII")  # an entry and a dirent

FORGET_IN = struct.Struct("=Q")  # number of lookups
FORGET_ONE = struct.Struct("=QQ")  # node, number of lookups
BATCH_FORGET_IN = struct.Struct("=II")  # count, -
# valid, -, fh, size, lock_owner, atime, mtime, ctime, their ns, mode, -, uid, gid
SETATTR_IN = struct.Struct("=IIQQQqqqIIIIIII")
MKNOD_IN = struct.Struct("=IIII")  # mode, rdev, umask, -; the name follows
MKDIR_IN = struct.Struct("=II")  # mode, umask; the name follows
RENAME_IN = struct.Struct("=Q")  # new directory; the two names follow
RENAME2_IN = struct.Struct("=QII")  # new directory, flags, -; the two names follow
LINK_IN = struct.Struct("=Q")  # the node; the name follows
CREATE_IN = struct.Struct("=IIII")  # flags, mode, umask, -; the name follows
OPEN_IN = struct.Struct("=II")  # flags, -
OPEN_OUT = struct.Struct("=QII")  # fh, flags, backing id
RELEASE_IN = struct.Struct("=QII")  # fh, flags, release flags (more follows)
READ_IN = struct.Struct("=QQII")  # fh, offset, size, flags (more follows)
WRITE_IN = struct.Struct("=QQIIQII")  # fh, offset, size, write flags, lock owner, flags, -; the data follow
WRITE_OUT = struct.Struct("=II")  # size, -
STATFS_OUT = struct.Struct("=5Q4I24x")  # blocks, bfree, bavail, files, ffree, bsize, namelen, frsize, -
FSYNC_IN = struct.Struct("=QI")  # fh, flags: bit 0 for data alone
SETXATTR_IN = struct.Struct("=IIII")  # size, flags, flags of the extension, -; name and value follow
GETXATTR_IN = struct.Struct("=II")  # size, -; the name follows
GETXATTR_OUT = struct.Struct("=II")  # size, -
FALLOCATE_IN = struct.Struct("=QQQI")  # fh, offset, length, mode
LSEEK_IN = struct.Struct("=QQI")  # fh, offset, whence
LSEEK_OUT = struct.Struct("=Q")
INVAL_INODE_OUT = struct.Struct("=Qqq")  # node, offset or -1 for the attributes alone, length or 0 for all
INVAL_ENTRY_OUT = struct.Struct("=QII")  # directory, length of the name, flags; the name and a zero follow
COPY_FILE_RANGE_IN = struct.Struct("=QQQQQQQ")  # fh, offset, node out, fh out, offset out, length, flags

#: Where the data of a WRITE stand in a request.
WRITE_DATA = HEADER_IN.size + WRITE_IN.size

SECOND = 1_000_000_000  # in nanoseconds


def attributes(st: os.stat_result, ino: int, nlink: int) -> tuple[int, ...]:
    """Return the sixteen fields of attributes, with the inode number and link count that the file system shows."""
    atime, mtime, ctime = st.st_atime_ns, st.st_mtime_ns, st.st_ctime_ns
    return (
        ino,
        st.st_size,
        st.st_blocks,
        atime // SECOND,
        mtime // SECOND,
        ctime // SECOND,
        atime % SECOND,
        mtime % SECOND,
        ctime % SECOND,
        st.st_mode,
        nlink,
        st.st_uid,
        st.st_gid,
        st.st_rdev and _encode_device(st.st_rdev),
        st.st_blksize,
        0,
    )


def _encode_device(device: int) -> int:
    """Return the 32 bits in which FUSE sends a device number (new_encode_dev of linux/kdev_t.h)."""
    major, minor = os.major(device), os.minor(device)
    return (minor & 0xFF) | (major << 8) & 0xFFF00 | ((minor & ~0xFF) << 12) & 0xFFFFFFFF


def decode_device(rdev: int) -> int:
    """Return the device number that mknod(2) takes from the 32 bits of the wire."""
    return os.makedev((rdev & 0xFFF00) >> 8, (rdev & 0xFF) | (rdev >> 12) & 0xFFF00)


def dirent_size(name: bytes, header: int) -> int:
    """Return the bytes that an entry takes in a listing: its header, its name, padding to eight."""
    return (header + len(name) + 7) & ~7
