"""The FUSE protocol and session with a file system of three names, which knows no union."""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from lamina.linux import fuse as device
from lamina.linux import mount as kernel
from lamina.overlay.fuse import wire
from lamina.overlay.fuse.session import MAX_DATA, Body, Handler, Request, Session

pytestmark = pytest.mark.requires("mounts", "fuse")

FILES = {2: (b"hello", b"hello, world\n"), 3: (b"large", os.urandom(3 * MAX_DATA + 17))}
LONG = 1000


class Toy:
    """A read-only directory of two files; `seen` counts the requests by operation code."""

    def __init__(self) -> None:
        self.seen: dict[int, int] = {}
        self.forgotten = 0

    def handlers(self) -> dict[int, Handler]:
        table: dict[int, Handler] = {
            wire.LOOKUP: self.lookup,
            wire.GETATTR: self.getattr,
            wire.READ: self.read,
            wire.READDIRPLUS: self.readdirplus,
            wire.FORGET: self.forget,
            wire.BATCH_FORGET: self.forget,
            wire.STATFS: self.defect,
        }
        return {code: self._counting(code, handler) for code, handler in table.items()}

    def _counting(self, code: int, handler: Handler) -> Handler:
        def counted(request: Request) -> Body | int | None:
            self.seen[code] = self.seen.get(code, 0) + 1
            return handler(request)

        return counted

    def attributes(self, node: int) -> tuple[int, ...]:
        mode, size = (stat.S_IFDIR | 0o755, 0) if node == wire.ROOT else (stat.S_IFREG | 0o444, len(FILES[node][1]))
        return (node, size, 0, 1, 2, 3, 10, 20, 30, mode, 1, os.getuid(), os.getgid(), 0, 4096, 0)

    def entry(self, node: int) -> tuple[int, ...]:
        return (node, 0, LONG, LONG, 0, 0, *self.attributes(node))

    def lookup(self, request: Request) -> bytes:
        name = request.name()
        for node, (known, _) in FILES.items():
            if known == name:
                return wire.ENTRY_OUT.pack(*self.entry(node))
        raise OSError(errno.ENOENT, "no such name")

    def getattr(self, request: Request) -> bytes:
        return wire.ATTR_OUT.pack(LONG, 0, 0, *self.attributes(request.node))

    def read(self, request: Request) -> bytes:
        _, offset, size, _ = wire.READ_IN.unpack_from(request.body)
        return FILES[request.node][1][offset : offset + size]

    def readdirplus(self, request: Request) -> bytes:
        _, offset, _, _ = wire.READ_IN.unpack_from(request.body)
        out = b""
        for node, (name, _) in list(FILES.items())[offset:]:
            fields = (*self.entry(node), node, node - 1, len(name), stat.S_IFREG >> 12)
            out += (wire.DIRENT_PLUS.pack(*fields) + name).ljust(wire.dirent_size(name, wire.DIRENT_PLUS.size), b"\0")
        return out

    def forget(self, request: Request) -> None:
        self.forgotten += 1

    def defect(self, request: Request) -> bytes:
        raise ZeroDivisionError("a defect")


@pytest.fixture
def toy(scratch: Path) -> Iterator[tuple[Toy, Path, list[str]]]:
    target = scratch / "toy"
    target.mkdir()
    toy, ready = Toy(), threading.Event()
    errors: list[str] = []
    fd = device.open_device()
    device.mount(fd, str(target), source="toy", subtype="toy", flags=kernel.MS_NOSUID, options=(), read_size=MAX_DATA)
    wanted = wire.DO_READDIRPLUS | wire.NO_OPEN_SUPPORT | wire.NO_OPENDIR_SUPPORT | wire.PARALLEL_DIROPS
    session = Session(fd, toy.handlers(), wanted=wanted, on_ready=ready.set, on_error=errors.append)
    thread = threading.Thread(target=session.run, name="toy")
    thread.start()
    try:
        assert ready.wait(10)
        yield toy, target, errors
    finally:
        kernel.umount2(str(target), kernel.MNT_DETACH)
        thread.join(10)
        os.close(fd)
    assert not thread.is_alive()


def test_names_and_attributes(toy: tuple[Toy, Path, list[str]]) -> None:
    _, top, _ = toy
    assert sorted(os.listdir(top)) == ["hello", "large"]
    st = os.stat(top / "hello")
    assert (st.st_size, st.st_mtime_ns, st.st_mode) == (13, 2_000_000_020, stat.S_IFREG | 0o444)
    with pytest.raises(FileNotFoundError):
        os.stat(top / "absent")


def test_data_larger_than_a_request(toy: tuple[Toy, Path, list[str]]) -> None:
    _, top, _ = toy
    assert (top / "large").read_bytes() == FILES[3][1]


def test_open_is_asked_for_once(toy: tuple[Toy, Path, list[str]]) -> None:
    counted, top, _ = toy
    for _ in range(5):
        assert (top / "hello").read_bytes() == b"hello, world\n"
    # The pages stay in the kernel between opens, as nothing is opened for it.
    assert counted.seen[wire.READ] == 1


def test_what_is_not_in_the_table_is_enosys(toy: tuple[Toy, Path, list[str]]) -> None:
    _, top, _ = toy
    with pytest.raises(OSError) as caught:
        (top / "new").mkdir()
    assert caught.value.errno == errno.ENOSYS


def test_a_defect_is_told_and_answered(toy: tuple[Toy, Path, list[str]]) -> None:
    _, top, errors = toy
    with pytest.raises(OSError) as caught:
        os.statvfs(top)
    assert caught.value.errno == errno.EIO
    assert "ZeroDivisionError: a defect" in errors[0]
    assert (top / "hello").read_bytes() == b"hello, world\n"


def test_many_readers_at_once(toy: tuple[Toy, Path, list[str]]) -> None:
    _, top, _ = toy
    results: list[bytes] = []
    readers = [threading.Thread(target=lambda: results.append((top / "large").read_bytes())) for _ in range(8)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert all(result == FILES[3][1] for result in results)
    assert len(results) == 8
