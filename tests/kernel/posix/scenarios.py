"""Short stories of calls, each in a folder of its own; what they return must not depend on the file system.

`below` of the folder are files that lie in a layer where the folder is of a union: `file` ("some text", mode 0644),
`dir` with `one` and `two`, `twin` and `twin2` (hard links), `holes` (1 MiB with data at 300,000), `tool` (a script).
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.helpers.unions import answer

Scenario = Callable[[Path], Any]

_libc = ctypes.CDLL(None, use_errno=True)

KEEP_SIZE, PUNCH, ZERO, COLLAPSE = 1, 2, 16, 8


def populate(top: Path) -> None:
    """Make what the scenarios start from."""
    (top / "file").write_text("some text")
    (top / "dir").mkdir()
    for name in ("one", "two"):
        (top / "dir" / name).write_text(name)
    (top / "twin").write_text("twin")
    os.link(top / "twin", top / "twin2")
    with (top / "holes").open("wb") as file:
        file.truncate(1 << 20)
        file.seek(300_000)
        file.write(b"data")
    (top / "tool").write_text("#!/bin/sh\necho worked\n")
    (top / "tool").chmod(0o755)
    os.setxattr(top / "file", "user.color", b"blue")
    os.utime(top / "file", ns=(10**18, 10**18 + 5))


def _open(path: Path, flags: int, mode: int = 0o644) -> int:
    return os.open(path, flags | os.O_CLOEXEC, mode)


def _as_user(call: Callable[[], Any], *, groups: tuple[int, ...] = ()) -> Any:
    os.setgroups(groups)
    os.setegid(12345)
    os.seteuid(12345)
    try:
        return answer(call)
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups([])


def _fallocate(fd: int, mode: int, offset: int, length: int) -> None:
    if _libc.fallocate(fd, mode, ctypes.c_long(offset), ctypes.c_long(length)):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def append_from_two_descriptors(top: Path) -> Any:
    one, two = _open(top / "file", os.O_WRONLY | os.O_APPEND), _open(top / "file", os.O_WRONLY | os.O_APPEND)
    for fd, text in ((one, b"1"), (two, b"22"), (one, b"333")):
        os.write(fd, text)
    os.close(one)
    os.close(two)
    return (top / "file").read_bytes()


def reader_sees_what_is_written_later(top: Path) -> Any:
    reader = _open(top / "file", os.O_RDONLY)
    first = os.pread(reader, 100, 0)
    (top / "file").write_text("other, longer text")
    second = os.pread(reader, 100, 0) if sys.platform == "linux" else b""
    os.close(reader)
    # The kernel's overlay keeps showing the old file to a descriptor from before the copy-up; others do not.
    return first, second in (b"other, longer text", first)


def unlinked_file_lives_on(top: Path) -> Any:
    fd = _open(top / "file", os.O_RDWR)
    os.unlink(top / "file")
    os.pwrite(fd, b"SOME", 0)
    st = os.fstat(fd)
    data = os.pread(fd, 100, 0)
    os.ftruncate(fd, 2)
    os.fchmod(fd, 0o600)
    end = os.fstat(fd)
    os.close(fd)
    return st.st_nlink, data, end.st_size, oct(end.st_mode), answer(lambda: os.stat(top / "file"))


def unlinked_new_file_lives_on(top: Path) -> Any:
    fd = _open(top / "new", os.O_RDWR | os.O_CREAT)
    os.write(fd, b"x" * 10000)
    os.unlink(top / "new")
    (top / "new").write_text("another")
    os.pwrite(fd, b"y", 9999)
    got = os.fstat(fd).st_nlink, os.fstat(fd).st_size, os.pread(fd, 2, 9998)
    os.close(fd)
    return got, (top / "new").read_text()


def replaced_file_lives_on(top: Path) -> Any:
    fd = _open(top / "file", os.O_RDONLY)
    (top / "new").write_text("new")
    os.rename(top / "new", top / "file")
    got = os.pread(fd, 100, 0), os.fstat(fd).st_nlink
    os.close(fd)
    return got, (top / "file").read_text()


def removed_directory_is_dead(top: Path) -> Any:
    fd = _open(top / "dir", os.O_RDONLY | os.O_DIRECTORY)
    for name in ("one", "two"):
        os.unlink(name, dir_fd=fd)
    os.rmdir(top / "dir")
    got = [
        os.listdir(fd),
        answer(lambda: os.close(os.open("new", os.O_CREAT | os.O_WRONLY, dir_fd=fd))),
        answer(lambda: os.mkdir("new", dir_fd=fd)),
        answer(lambda: os.stat("one", dir_fd=fd)),
        os.fstat(fd).st_nlink,
    ]
    os.close(fd)
    return got


def hard_links_are_one_file(top: Path) -> Any:
    (top / "twin").write_text("both")
    os.link(top / "twin2", top / "triplet")
    states = [os.stat(top / name) for name in ("twin", "twin2", "triplet")]
    os.unlink(top / "twin")
    return (
        (top / "triplet").read_text(),
        len({st.st_ino for st in states}),
        [st.st_nlink for st in states],
        os.stat(top / "twin2").st_nlink,
    )


def hard_link_keeps_its_number(top: Path) -> Any:
    before = os.stat(top / "file").st_ino
    os.link(top / "file", top / "again")
    (top / "again").write_text("x")
    return before == os.stat(top / "file").st_ino == os.stat(top / "again").st_ino, (top / "file").read_text()


def rename_of_one_link_over_the_other(top: Path) -> Any:
    os.rename(top / "twin", top / "twin2")
    return sorted(os.listdir(top)), os.stat(top / "twin").st_nlink


def number_stays_over_changes(top: Path) -> Any:
    numbers = [os.stat(top / "file").st_ino]
    (top / "file").write_text("x")
    numbers.append(os.stat(top / "file").st_ino)
    os.rename(top / "file", top / "dir" / "moved")
    numbers.append(os.stat(top / "dir" / "moved").st_ino)
    return len(set(numbers))


def directory_number_stays(top: Path) -> Any:
    numbers = [os.stat(top / "dir").st_ino]
    (top / "dir" / "new").touch()
    numbers.append(os.stat(top / "dir").st_ino)
    os.rename(top / "dir", top / "moved")
    numbers.append(os.stat(top / "moved").st_ino)
    return len(set(numbers)), sorted(os.listdir(top / "moved"))


def listed_numbers_are_the_states(top: Path) -> Any:
    (top / "file").write_text("copied up")
    with os.scandir(top) as entries:
        return [entry.name for entry in entries if entry.inode() != os.lstat(entry.path).st_ino]


def shared_map_is_written(top: Path) -> Any:
    fd = _open(top / "file", os.O_RDWR)
    with mmap.mmap(fd, 9) as mapped:
        mapped[0:4] = b"MAPS"
        mapped.flush()
        through_read = os.pread(fd, 9, 0)
    os.close(fd)
    return through_read, (top / "file").read_bytes()


def shared_map_without_sync(top: Path) -> Any:
    fd = _open(top / "new", os.O_RDWR | os.O_CREAT)
    os.ftruncate(fd, 8192)
    with mmap.mmap(fd, 8192) as mapped:
        mapped[5000:5003] = b"abc"
    os.close(fd)
    data = (top / "new").read_bytes()
    return len(data), data[4999:5004]


def private_map_changes_nothing(top: Path) -> Any:
    fd = _open(top / "file", os.O_RDONLY)
    with mmap.mmap(fd, 9, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE) as mapped:
        mapped[0:4] = b"MINE"
    os.close(fd)
    return (top / "file").read_bytes()


def written_data_are_in_a_map(top: Path) -> Any:
    fd = _open(top / "file", os.O_RDWR)
    os.pwrite(fd, b"!", 0)
    with mmap.mmap(fd, 9) as mapped:
        os.pwrite(fd, b"?", 1)
        got = mapped[0:9]
    os.close(fd)
    return got


def holes_are_found(top: Path) -> Any:
    fd = _open(top / "holes", os.O_RDONLY)
    got = [os.lseek(fd, 0, os.SEEK_DATA), os.lseek(fd, 300_000, os.SEEK_HOLE), os.lseek(fd, 0, os.SEEK_HOLE)]
    got_end = answer(lambda: os.lseek(fd, 500_000, os.SEEK_DATA))
    os.close(fd)
    return got, got_end


def holes_survive_copy_up(top: Path) -> Any:
    before = os.stat(top / "holes").st_blocks
    fd = _open(top / "holes", os.O_WRONLY)
    os.pwrite(fd, b"D", 300_000)
    os.fsync(fd)
    os.close(fd)
    return os.stat(top / "holes").st_blocks <= before + 16, (top / "holes").read_bytes()[299_999:300_005]


def punching(top: Path) -> Any:
    fd = _open(top / "new", os.O_RDWR | os.O_CREAT)
    os.write(fd, b"x" * 65536)
    results = [
        answer(lambda: _fallocate(fd, PUNCH | KEEP_SIZE, 4096, 8192)),
        answer(lambda: _fallocate(fd, ZERO, 20000, 5000)),
        answer(lambda: _fallocate(fd, 0, 60000, 10000)),
        answer(lambda: _fallocate(fd, KEEP_SIZE, 100_000, 5000)),
        answer(lambda: _fallocate(fd, PUNCH, 0, 10)),
        answer(lambda: _fallocate(fd, 0, 0, 0)),
    ]
    data = os.pread(fd, 200_000, 0)
    size = os.fstat(fd).st_size
    os.close(fd)
    return results, size, data.count(b"x"), data[4095:4098], data[12287:12290], data[19999:20001]


def punching_a_file_from_below(top: Path) -> Any:
    fd = _open(top / "file", os.O_RDWR)
    _fallocate(fd, PUNCH | KEEP_SIZE, 1, 3)
    os.close(fd)
    return (top / "file").read_bytes()


def copying_ranges(top: Path) -> Any:
    source, target = _open(top / "file", os.O_RDONLY), _open(top / "new", os.O_RDWR | os.O_CREAT)
    done = os.copy_file_range(source, target, 6, 2, 4)
    within = _open(top / "file", os.O_RDWR)
    os.copy_file_range(within, within, 4, 0, 20)
    got = done, os.pread(target, 100, 0), os.pread(within, 100, 0)
    for fd in (source, target, within):
        os.close(fd)
    return got


def sending_a_file(top: Path) -> Any:
    source = _open(top / "file", os.O_RDONLY)
    one, two = socket.socketpair()
    with one, two:
        os.sendfile(one.fileno(), source, 5, 4)
        got = two.recv(100)
    os.close(source)
    return got


def flock_excludes(top: Path) -> Any:
    one, two = _open(top / "file", os.O_RDWR), _open(top / "file", os.O_RDONLY)
    fcntl.flock(one, fcntl.LOCK_EX)
    got = [answer(lambda: fcntl.flock(two, fcntl.LOCK_SH | fcntl.LOCK_NB))]
    fcntl.flock(one, fcntl.LOCK_SH)
    got.append(answer(lambda: fcntl.flock(two, fcntl.LOCK_SH | fcntl.LOCK_NB)))
    os.close(one)
    got.append(answer(lambda: fcntl.flock(two, fcntl.LOCK_EX | fcntl.LOCK_NB)))
    os.close(two)
    return got


def record_locks_exclude(top: Path) -> Any:
    fd = _open(top / "file", os.O_RDWR)
    fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 4, 0)
    code = (
        "import fcntl, sys\n"
        "f = open(sys.argv[1], 'r+')\n"
        "for start in (2, 4):\n"
        "    try:\n"
        "        fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB, 2, start); print('free')\n"
        "    except OSError as e:\n"
        "        print(e.errno in (11, 13))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(top / "file")], capture_output=True, text=True, check=True)
    os.close(fd)
    return done.stdout.split()


def _give_name(fd: int, top: Path) -> None:
    folder = os.open(top, os.O_PATH)
    try:
        os.link(f"/proc/self/fd/{fd}", "named", dst_dir_fd=folder, follow_symlinks=True)
    finally:
        os.close(folder)


def nameless_files(top: Path) -> Any:
    fd = os.open(top, os.O_TMPFILE | os.O_RDWR, 0o640)
    os.write(fd, b"nameless")
    before = os.fstat(fd).st_nlink, sorted(os.listdir(top))
    _give_name(fd, top)
    after = os.fstat(fd).st_nlink, (top / "named").read_text(), oct(os.stat(top / "named").st_mode)
    os.close(fd)
    return before, after


def nameless_files_that_stay_so(top: Path) -> Any:
    fd = os.open(top, os.O_TMPFILE | os.O_RDWR | os.O_EXCL, 0o600)
    os.write(fd, b"x" * 5000)
    got = os.pread(fd, 3, 4998), answer(lambda: _give_name(fd, top))
    os.close(fd)
    return got


def umask_is_taken_off(top: Path) -> Any:
    previous = os.umask(0o027)
    try:
        os.mkdir(top / "new", 0o777)
        os.close(_open(top / "file2", os.O_CREAT | os.O_WRONLY, 0o666))
        os.mkfifo(top / "fifo", 0o666)
    finally:
        os.umask(previous)
    return [oct(os.stat(top / name).st_mode) for name in ("new", "file2", "fifo")]


def set_group_id_is_inherited(top: Path) -> Any:
    os.chown(top / "dir", 0, 777)
    os.chmod(top / "dir", 0o2775)
    os.mkdir(top / "dir/sub")
    (top / "dir/new").touch()
    os.symlink("x", top / "dir/link")
    os.unlink(top / "dir/one")
    os.mkdir(top / "dir/one")
    names = ("sub", "new", "link", "one")
    return [(oct(st.st_mode), st.st_gid) for st in (os.lstat(top / "dir" / name) for name in names)]


def owner_is_the_caller(top: Path) -> Any:
    os.chmod(top, 0o777)

    def make() -> None:
        (top / "theirs").write_text("x")
        os.mkdir(top / "folder")
        os.symlink("x", top / "pointer")
        os.mkfifo(top / "pipe")

    said = _as_user(make)
    names = ("theirs", "folder", "pointer", "pipe")
    return said, [(st.st_uid, st.st_gid) for st in (os.lstat(top / name) for name in names)]


def a_file_that_its_mode_closes_is_open_to_its_maker(top: Path) -> Any:
    os.chmod(top, 0o777)

    def make() -> Any:
        fd = os.open(top / "closed", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o444)
        os.write(fd, b"x")
        os.close(fd)
        return answer(lambda: os.close(os.open(top / "closed", os.O_WRONLY)))

    return _as_user(make), oct(os.stat(top / "closed").st_mode), (top / "closed").read_text()


def writing_takes_privileges_off(top: Path) -> Any:
    results = []
    for mode in (0o4755, 0o2755, 0o6777, 0o2644):
        os.chmod(top / "file", mode)
        os.chown(top / "file", 12345, 12345)
        os.chmod(top / "file", mode)

        def write() -> None:
            with open(top / "file", "r+") as file:
                file.write("x")

        results.append((_as_user(write), oct(os.stat(top / "file").st_mode)))
    return results


def truncating_takes_privileges_off(top: Path) -> Any:
    os.chown(top / "file", 12345, 12345)
    os.chmod(top / "file", 0o6755)
    said = _as_user(lambda: os.truncate(top / "file", 2))
    return said, oct(os.stat(top / "file").st_mode)


def allocating_and_copying_take_privileges_off(top: Path) -> Any:
    fd = _open(top / "file", os.O_RDWR)
    os.fchown(fd, 12345, 12345)

    def copy() -> None:
        os.copy_file_range(fd, fd, 4, 0, 100)

    calls: tuple[Callable[[], None], ...] = (
        lambda: os.posix_fallocate(fd, 0, 5000),
        lambda: _fallocate(fd, KEEP_SIZE | PUNCH, 0, 2),
        copy,
    )
    results = []
    for call in calls:
        os.fchmod(fd, 0o6755)
        call()  # root keeps them
        kept = oct(os.fstat(fd).st_mode)
        results.append((kept, _as_user(call), oct(os.fstat(fd).st_mode)))
    os.close(fd)
    return results


def chown_takes_privileges_off(top: Path) -> Any:
    os.chmod(top / "file", 0o6755)
    os.chown(top / "file", 1, 1)
    one = oct(os.stat(top / "file").st_mode)
    os.chmod(top / "dir", 0o6755)
    os.chown(top / "dir", 1, 1)
    return one, oct(os.stat(top / "dir").st_mode)


def capabilities_go_when_written(top: Path) -> Any:
    value = bytes.fromhex("0100000200200000000000000000000000000000")
    os.setxattr(top / "tool", "security.capability", value)
    before = os.getxattr(top / "tool", "security.capability") == value
    with open(top / "tool", "a") as file:
        file.write("# more\n")
    return before, answer(lambda: os.getxattr(top / "tool", "security.capability"))


def capabilities_go_with_the_owner(top: Path) -> Any:
    value = bytes.fromhex("0100000200200000000000000000000000000000")
    os.setxattr(top / "tool", "security.capability", value)
    os.chown(top / "tool", 3, 3)
    return answer(lambda: os.getxattr(top / "tool", "security.capability"))


def set_group_id_of_a_strange_group(top: Path) -> Any:
    os.chown(top / "file", 12345, 777)
    os.chmod(top / "file", 0o755)
    said = _as_user(lambda: os.chmod(top / "file", 0o2755))
    return said, oct(os.stat(top / "file").st_mode)


def sticky_directories(top: Path) -> Any:
    os.chmod(top / "dir", 0o1777)
    results = [
        _as_user(lambda: os.unlink(top / "dir/one")),
        _as_user(lambda: os.rename(top / "dir/one", top / "dir/x")),
    ]
    results.append(_as_user(lambda: (top / "dir/mine").write_text("x")))
    results.append(_as_user(lambda: os.unlink(top / "dir/mine")))
    return results


def permissions_of_others(top: Path) -> Any:
    os.chmod(top / "file", 0o600)
    os.chmod(top / "dir", 0o700)
    return [
        _as_user((top / "file").read_text),
        _as_user(lambda: os.listdir(top / "dir")),
        _as_user(lambda: os.stat(top / "dir/one").st_size),
        _as_user(lambda: os.chmod(top / "file", 0o777)),
        _as_user(lambda: os.chown(top / "file", 12345, -1)),
        _as_user(lambda: os.utime(top / "file", ns=(1, 1))),
        _as_user(lambda: os.utime(top / "file")),
        _as_user(lambda: os.setxattr(top / "file", "user.x", b"1")),
        _as_user(lambda: os.mknod(top / "device", stat.S_IFBLK, os.makedev(7, 0))),
        _as_user(lambda: os.getxattr(top / "file", "user.color")),
    ]


def access_list_lets_in(top: Path) -> Any:
    os.chmod(top / "file", 0o640)
    subprocess.run(["setfacl", "-m", "u:12345:rw", str(top / "file")], check=True)
    mode = oct(os.stat(top / "file").st_mode)
    said = _as_user((top / "file").read_text)
    os.chmod(top / "file", 0o600)
    closed = _as_user((top / "file").read_text)
    listing = subprocess.run(["getfacl", "-cn", str(top / "file")], capture_output=True, text=True, check=True).stdout
    return mode, said, closed, listing


def default_access_list_is_inherited(top: Path) -> Any:
    subprocess.run(["setfacl", "-d", "-m", "u:12345:rwx,g::r-x,o::-", str(top / "dir")], check=True)
    (top / "dir/new").write_text("x")
    os.mkdir(top / "dir/sub")
    os.unlink(top / "dir/one")
    (top / "dir/one").write_text("over a whiteout")
    listings = [
        subprocess.run(["getfacl", "-cn", str(top / "dir" / name)], capture_output=True, text=True, check=True).stdout
        for name in ("new", "sub", "one")
    ]
    return listings, [oct(os.stat(top / "dir" / name).st_mode) for name in ("new", "sub", "one")]


def times_to_the_nanosecond(top: Path) -> Any:
    os.utime(top / "file", ns=(1_234_567_890_123_456_789, 987_654_321_987_654_321))
    os.utime(top / "dir", ns=(-5, -1_000_000_001))
    one, two = os.stat(top / "file"), os.stat(top / "dir")
    return one.st_atime_ns, one.st_mtime_ns, two.st_mtime_ns


def times_of_old_are_kept(top: Path) -> Any:
    os.chmod(top / "file", 0o600)
    os.rename(top / "file", top / "moved")
    os.link(top / "moved", top / "linked")
    os.setxattr(top / "moved", "user.y", b"2")
    return os.stat(top / "moved").st_mtime_ns


def times_move_on(top: Path) -> Any:
    def moved(path: Path, change: Callable[[], object], field: str) -> bool:
        before = getattr(os.stat(path), field)
        deadline = time.monotonic() + 5
        while True:  # the clock of a file system is coarse
            change()
            if getattr(os.stat(path), field) > before:
                return True
            if time.monotonic() > deadline:
                return False

    file, folder = top / "file", top / "dir"

    def come_and_go() -> None:
        (folder / "new").touch()
        os.unlink(folder / "new")

    def there_and_back() -> None:
        os.rename(folder / "two", folder / "three")
        os.rename(folder / "three", folder / "two")

    def shrink_and_grow() -> None:
        os.truncate(file, 1)
        os.truncate(file, 2)

    return [
        moved(file, lambda: file.write_text("x"), "st_mtime_ns"),
        moved(file, lambda: os.chmod(file, 0o600), "st_ctime_ns"),
        moved(file, lambda: os.setxattr(file, "user.z", b""), "st_ctime_ns"),
        moved(folder, come_and_go, "st_mtime_ns"),
        moved(folder, there_and_back, "st_mtime_ns"),
        moved(file, shrink_and_grow, "st_mtime_ns"),
    ]


def xattr_flags(top: Path) -> Any:
    path = top / "file"
    return [
        answer(lambda: os.setxattr(path, "user.color", b"x", os.XATTR_CREATE)),
        answer(lambda: os.setxattr(path, "user.none", b"x", os.XATTR_REPLACE)),
        answer(lambda: os.setxattr(path, "user.color", b"red", os.XATTR_REPLACE)),
        answer(lambda: os.setxattr(path, "user.empty", b"")),
        answer(lambda: os.getxattr(path, "user.color")),
        answer(lambda: os.getxattr(path, "user.empty")),
        answer(lambda: os.setxattr(path, "strange.x", b"1")),
        answer(lambda: os.setxattr(path, "user.", b"1")),
        answer(lambda: os.setxattr(path, "user." + "n" * 251, b"1")),
        sorted(os.listxattr(path)),
        answer(lambda: os.removexattr(path, "user.color")),
        answer(lambda: os.removexattr(path, "user.color")),
    ]


def trusted_attributes_are_for_root(top: Path) -> Any:
    path = top / "file"
    os.setxattr(path, "trusted.mine", b"1")
    os.setxattr(path, "user.mine", b"1")

    def look() -> Any:
        return sorted(os.listxattr(path)), answer(lambda: os.getxattr(path, "trusted.mine"))

    return look(), _as_user(look), _as_user(lambda: os.setxattr(path, "trusted.mine", b"2"))


def every_byte_in_a_name(top: Path) -> Any:
    names = [bytes([number]) * 3 for number in range(1, 256) if number not in (ord("/"), ord("."))]
    fd = os.open(top / "dir", os.O_RDONLY)
    for name in names:
        os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, dir_fd=fd))
    with os.scandir(os.fsencode(top / "dir")) as entries:
        listed = {entry.name for entry in entries}
    os.close(fd)
    return listed == {*names, b"one", b"two"}


def a_listing_while_names_go(top: Path) -> Any:
    folder = top / "dir"
    for number in range(3000):
        (folder / f"file{number:05}").touch()
    seen = []
    with os.scandir(folder) as entries:
        for entry in entries:
            seen.append(entry.name)
            os.unlink(entry.path)
    return len(seen), len(set(seen)), os.listdir(folder), answer(lambda: os.rmdir(folder))


def a_listing_while_names_come(top: Path) -> Any:
    folder = top / "dir"
    for number in range(1000):
        (folder / f"old{number:05}").touch()
    seen = []
    with os.scandir(folder) as entries:
        for number, entry in enumerate(entries):
            if entry.name.startswith("old"):
                seen.append(entry.name)
                if number < 300:
                    (folder / f"new{number}").touch()
    return len(seen), len(set(seen))


def a_deep_tree(top: Path) -> Any:
    fd = os.open(top, os.O_RDONLY)
    for number in range(60):
        os.mkdir("d" * 100, dir_fd=fd)
        step = os.open("d" * 100, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = step
        os.close(os.open(f"file{number}", os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=fd))
    os.rename("file59", "moved", src_dir_fd=fd, dst_dir_fd=fd)
    os.chmod("moved", 0o640, dir_fd=fd)
    got = oct(os.stat("moved", dir_fd=fd).st_mode), sorted(os.listdir(fd))
    os.close(fd)
    subprocess.run(["rm", "-rf", str(top / ("d" * 100))], check=True)
    return got, (top / ("d" * 100)).exists()


def programs_run(top: Path) -> Any:
    said = subprocess.run([str(top / "tool")], capture_output=True, text=True, check=True).stdout
    subprocess.run(["cp", "/bin/true", str(top / "true")], check=True)
    os.chmod(top / "tool", 0o644)
    return (
        said,
        subprocess.run([str(top / "true")], check=False).returncode,
        answer(lambda: os.execv(top / "tool", ["x"])),
    )


def a_running_program_is_busy(top: Path) -> Any:
    subprocess.run(["cp", "/bin/sleep", str(top / "sleep")], check=True)
    with subprocess.Popen([str(top / "sleep"), "30"]) as child:
        deadline = time.monotonic() + 5
        while "sleep" not in os.readlink(f"/proc/{child.pid}/exe") and time.monotonic() < deadline:
            pass
        said = answer(lambda: os.close(os.open(top / "sleep", os.O_WRONLY)))
        child.kill()
    return said


def sockets_connect(top: Path) -> Any:
    folder = os.open(top, os.O_PATH)
    path = f"/proc/self/fd/{folder}/socket"
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind(path)
        server.listen()
        client.connect(path)
        client.sendall(b"hello")
        accepted, _ = server.accept()
        with accepted:
            got = accepted.recv(10)
    os.close(folder)
    return got, stat.S_ISSOCK(os.stat(top / "socket").st_mode)


def fifos_carry(top: Path) -> Any:
    os.mkfifo(top / "pipe")
    reader = os.open(top / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(top / "pipe", os.O_WRONLY)
    os.write(writer, b"through")
    got = os.read(reader, 100)
    os.close(reader)
    os.close(writer)
    return got


def device_numbers(top: Path) -> Any:
    os.mknod(top / "big", stat.S_IFCHR | 0o600, os.makedev(300, 70000))
    os.mknod(top / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    with open(top / "null", "rb") as file:
        got = file.read(1)
    st = os.stat(top / "big")
    return os.major(st.st_rdev), os.minor(st.st_rdev), got


def growing_and_shrinking(top: Path) -> Any:
    fd = _open(top / "file", os.O_RDWR)
    os.ftruncate(fd, 100_000)
    os.pwrite(fd, b"end", 200_000)
    os.ftruncate(fd, 150_001)
    os.ftruncate(fd, 160_000)
    data = os.pread(fd, 200_000, 0)
    os.close(fd)
    return len(data), data[:9], set(data[9:])


def far_away(top: Path) -> Any:
    fd = _open(top / "new", os.O_RDWR | os.O_CREAT)
    os.pwrite(fd, b"x", 1 << 40)
    got = os.fstat(fd).st_size, os.pread(fd, 2, (1 << 40) - 1), answer(lambda: os.pwrite(fd, b"x", 1 << 62))
    os.close(fd)
    return got


def vectors(top: Path) -> Any:
    fd = _open(top / "new", os.O_RDWR | os.O_CREAT)
    written = os.pwritev(fd, [b"ab", b"cde", b"f" * 5000], 3)
    buffers = [bytearray(4), bytearray(3)]
    got = os.preadv(fd, buffers, 2)
    os.close(fd)
    return written, got, bytes(buffers[0]), bytes(buffers[1])


def syncing(top: Path) -> Any:
    fd = _open(top / "file", os.O_RDWR)
    os.write(fd, b"x")
    folder = os.open(top / "dir", os.O_RDONLY)
    got = [answer(lambda: os.fsync(fd)), answer(lambda: os.fdatasync(fd)), answer(lambda: os.fsync(folder))]
    os.close(fd)
    os.close(folder)
    return got


def large_writes(top: Path) -> Any:
    data = bytes(range(256)) * 40_000
    (top / "large").write_bytes(data)
    with open(top / "large", "r+b") as file:
        file.seek(5_000_001)
        file.write(b"!" * 3_000_000)
    got = (top / "large").read_bytes()
    return len(got), got[:5_000_001] == data[:5_000_001], got[8_000_001:] == data[8_000_001:]


def directories_move(top: Path) -> Any:
    os.rename(top / "dir", top / "moved")
    os.mkdir(top / "dir")
    (top / "dir/one").write_text("new one")
    os.rename(top / "moved", top / "dir/inside")
    os.rename(top / "dir", top / "all")
    return sorted(str(path.relative_to(top)) for path in top.rglob("*")), (top / "all/inside/one").read_text()


def a_directory_over_an_empty_one(top: Path) -> Any:
    os.mkdir(top / "empty")
    os.rename(top / "dir", top / "empty")
    os.mkdir(top / "dir")
    os.rename(top / "empty", top / "dir")
    return sorted(os.listdir(top / "dir")), (top / "empty").exists()


def the_same_name_again_and_again(top: Path) -> Any:
    path = top / "file"
    for turn in range(20):
        os.unlink(path)
        if turn % 3 == 0:
            os.mkdir(path)
            os.rmdir(path)
        if turn % 3 == 1:
            os.symlink("nowhere", path)
            os.unlink(path)
        path.write_text(str(turn))
    return path.read_text(), sorted(os.listdir(top))


def working_directory_moves_along(top: Path) -> Any:
    back = os.open(".", os.O_PATH)
    os.chdir(top / "dir")
    os.rename(top / "dir", top / "elsewhere")
    Path("made").write_text("here")
    got = sorted(os.listdir(".")), (top / "elsewhere/made").read_text(), os.path.samefile("..", top)
    os.fchdir(back)
    os.close(back)
    return got


def statistics_of_the_file_system(top: Path) -> Any:
    st = os.statvfs(top)
    return st.f_namemax, st.f_blocks > 0, st.f_bavail > 0, st.f_flag & os.ST_RDONLY


def many_makers_of_links(top: Path) -> Any:
    code = (
        "import os, sys\n"
        "for n in range(50):\n"
        "    os.link(sys.argv[1] + '/file', f'{sys.argv[1]}/link-{sys.argv[2]}-{n}')\n"
    )
    children = [subprocess.Popen([sys.executable, "-c", code, str(top), str(n)]) for n in range(4)]
    statuses = [child.wait() for child in children]
    numbers = {os.stat(top / name).st_ino for name in os.listdir(top) if name.startswith("link-")}
    return statuses, os.stat(top / "file").st_nlink, len(numbers)


def a_limit_of_size(top: Path) -> Any:
    code = (
        "import os, resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)\n"
        "print(os.write(fd, b'x' * 3000))\n"
        "try: os.write(fd, b'x')\n"
        "except OSError as e: print(e.errno)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(top / "new")], capture_output=True, text=True, check=True)
    return done.stdout.split(), os.stat(top / "new").st_size


def leases_and_unknown_ioctls(top: Path) -> Any:
    fd = _open(top / "file", os.O_RDONLY)
    said = answer(lambda: fcntl.ioctl(fd, 0x12345678))
    os.close(fd)
    return said == ("fails", errno.errorcode[errno.ENOTTY])


SCENARIOS: dict[str, Scenario] = {
    name: value
    for name, value in list(globals().items())
    if callable(value)
    and getattr(value, "__module__", "") == __name__
    and not name.startswith("_")
    and name not in ("populate", "Scenario")
}
