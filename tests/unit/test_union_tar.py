"""Archives that were never unpacked, as lower layers of a union."""

from __future__ import annotations

import errno
import gzip
import lzma
import mmap
import os
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from lamina.errors import InvalidInput
from lamina.overlay.union.change import Change
from lamina.overlay.union.union import Union
from lamina.tar import entry as kinds
from lamina.tar import write
from lamina.tar.zstd import ZstdCompressor
from tests.helpers.archives import archive, directory, hardlink, item, symlink
from tests.helpers.shown import shown

_ROOT = os.geteuid() == 0

_ITEMS = [
    directory(b"./", mode=0o751), directory(b"d/", mode=0o2711, mtime=5), item(b"d/a", content=b"first\nsecond\n"),
    item(b"d/big", content=bytes(range(256)) * 1000, mode=0o600, mtime=1_600_000_000_123_456_789),
    hardlink(b"d/again", b"d/big"), symlink(b"link", b"d/a"), item(b"d/pipe", kinds.FIFO),
    item(b"x" * 200, content=b"long", xattrs={b"user.a": b"1"}), item(b"d/\xff\n", content=b"odd"),
]  # fmt: skip


@pytest.fixture
def layer(scratch: Path) -> Path:
    """Return an archive of a few files."""
    return archive(scratch / "layer.tar", *_ITEMS)


@pytest.fixture
def union(layer: Path, scratch: Path) -> Union:
    """Return a union over it."""
    (scratch / "upper").mkdir()
    return Union([layer], upper=scratch / "upper")


def test_an_archive_is_read_where_it_lies(layer: Path) -> None:
    with Union([layer]) as union:
        assert sorted(union.listdir(b"d")) == [b"a", b"again", b"big", b"pipe", b"\xff\n"]
        assert union.read_text("link") == "first\nsecond\n"
        with union.open("d/a") as text:
            assert [*text] == ["first\n", "second\n"]
        st = union.stat("d/big")
        assert (stat.S_IMODE(st.st_mode), st.st_size, st.st_mtime_ns) == (0o600, 256_000, 1_600_000_000_123_456_789)
        assert (st.st_nlink, st.st_ino) == (2, union.stat("d/again").st_ino)
        assert stat.S_IMODE(union.stat("/").st_mode) == 0o751 and stat.S_IMODE(union.stat("d").st_mode) == 0o2711
        assert stat.S_ISFIFO(union.stat("d/pipe").st_mode)
        assert union.getxattr("x" * 200, "user.a") == b"1" and union.listxattr("d") == []
        assert union.origins("d") == dict.fromkeys(union.listdir("d"), 0)
        assert union.statvfs().f_flag & os.ST_RDONLY


def test_what_is_read_can_be_sought(layer: Path) -> None:
    with Union([layer]) as union:
        file = union.open("d/big", "rb")
    # The union is closed, and what is open stays so.
    with file:
        assert file.seek(-3, os.SEEK_END) == 255_997
        assert file.read() == bytes([253, 254, 255]) and file.read() == b""
        file.seek(1000)
        into = bytearray(4)
        assert file.readinto(into) == 4 and into == bytes([232, 233, 234, 235])  # type: ignore[attr-defined]  # of IO
        assert file.tell() == 1004
        with pytest.raises(OSError, match="Invalid argument"):
            file.seek(-1)


def test_a_descriptor_is_of_a_copy(layer: Path) -> None:
    with Union([layer]) as union:
        fd = union.os_open("d/big", os.O_RDONLY)
        try:
            with mmap.mmap(fd, 0, prot=mmap.PROT_READ) as mapped:
                assert mapped[:] == bytes(range(256)) * 1000
            with pytest.raises(OSError, match="Bad file descriptor"):
                os.write(fd, b"")
        finally:
            os.close(fd)
        for path, code in (("d", errno.EISDIR), ("d/pipe", errno.ENXIO), ("none", errno.ENOENT)):
            with pytest.raises(OSError) as caught:
                union.os_open(path, os.O_RDONLY)
            assert caught.value.errno == code


def test_changes_land_in_the_upper(union: Union, layer: Path, scratch: Path) -> None:
    before = layer.read_bytes()
    with union:
        with union.open("d/a", "a") as file:
            file.write("third\n")
        union.truncate("d/big", 1000)
        union.unlink("link")
        union.rename("d", "e")
        union.copy_up("x" * 200)
        assert union.read_bytes("e/big") == (bytes(range(256)) * 4)[:1000]
        assert union.stat("e/again").st_size == 256_000  # the names parted, as there is no index
        assert union.origin("e/a") == 1 and union.origin("e/pipe") == 0
    with Union([layer], upper=scratch / "upper") as again:
        assert again.read_text("e/a") == "first\nsecond\nthird\n"
        assert again.getxattr("x" * 200, "user.a") == b"1"
        assert list(again.changes()) == [
            Change("D", b"d"), Change("A", b"e"), Change("C", b"e/a"), Change("C", b"e/big"), Change("D", b"link"),
            Change("C", b"x" * 200),
        ]  # fmt: skip
        assert list(again.whiteouts()) == [b"d", b"link"]
    assert layer.read_bytes() == before


@pytest.mark.parametrize("compression", ["gzip", "xz", "zstd"])
def test_a_compressed_archive_is_the_same(layer: Path, scratch: Path, compression: str) -> None:
    packing: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "xz": lzma.compress, "zstd": _zstd}
    packed = scratch / "packed"
    packed.write_bytes(packing[compression](layer.read_bytes()))
    with Union([packed]) as union, Union([layer]) as plain:
        assert shown(union) == shown(plain)
    packed.write_bytes(packed.read_bytes()[:-20])
    with pytest.raises(InvalidInput):
        Union([packed])


def _zstd(data: bytes) -> bytes:
    compressor = ZstdCompressor()
    return bytes(compressor.compress(data) + compressor.flush())


@pytest.mark.requires("tar")
@pytest.mark.parametrize("form", ["gnu", "pax", "pax --sparse-version=0.1"])
def test_holes_stay_holes(scratch: Path, form: str) -> None:
    (scratch / "top").mkdir()
    (scratch / "upper").mkdir()
    with open(scratch / "top/sparse", "wb") as file:
        for place, letter in ((1 << 20, b"a"), (3 << 20, b"b")):
            file.seek(place)
            file.write(letter * 4096)
        file.truncate(4 << 20)
    path = scratch / "sparse.tar"
    subprocess.run(
        ["tar", "-C", scratch / "top", "--sparse", *f"--format={form}".split(), "-cf", path, "."], check=True
    )
    wanted = (scratch / "top/sparse").read_bytes()
    with Union([path], upper=scratch / "upper") as union:
        assert union.read_bytes("sparse") == wanted
        with union.open("sparse", "rb") as opened:
            opened.seek((3 << 20) - 2)
            assert opened.read(4) == b"\0\0bb"
        union.truncate("sparse", (3 << 20) + 1)
        assert union.read_bytes("sparse") == wanted[: (3 << 20) + 1]
    assert (scratch / "upper/sparse").stat().st_blocks * 512 < 1 << 20


def test_archives_and_directories_stand_over_each_other(scratch: Path, layer: Path) -> None:
    (scratch / "middle/d").mkdir(parents=True)
    (scratch / "middle/d/a").write_text("of the middle")
    (scratch / "middle/d/more").write_text("more")
    top = archive(
        scratch / "top.tar",
        item(b"d/.wh.big"), item(b"d/new", content=b"new"), hardlink(b"linked", b"d/more"), item(b"d/.wh.none"),
    )  # fmt: skip
    with pytest.raises(InvalidInput, match="not a directory"):
        Union([layer, archive(scratch / "bad.tar", item(b"f"), item(b"f/y"))])
    with Union([layer, scratch / "middle", top]) as union:
        assert sorted(union.listdir("d")) == ["a", "again", "more", "new", "pipe", os.fsdecode(b"\xff\n")]
        assert union.origins("d")["a"] == 1 and union.origins("d")["new"] == 2 and union.origin("d/pipe") == 0
        # The archive does not name d: it is the one of the layers below. A link may lead there too.
        assert stat.S_IMODE(union.stat("d").st_mode) == stat.S_IMODE((scratch / "middle/d").stat().st_mode)
        assert union.read_text("linked") == "more" and union.stat("linked").st_nlink == 2


def test_an_opaque_directory_hides(scratch: Path, layer: Path) -> None:
    top = archive(scratch / "top.tar", directory(b"d/"), item(b"d/.wh..wh..opq"), item(b"d/only"))
    with Union([layer, top]) as union:
        assert union.listdir("d") == ["only"]
    everything = archive(scratch / "all.tar", item(b".wh..wh..opq"), item(b"only"))
    with Union([layer, everything]) as union:
        assert union.listdir("/") == ["only"]


def test_owners_are_the_archives_or_ones_own(scratch: Path) -> None:
    path = archive(scratch / "owned.tar", item(b"f", uid=12, gid=34, mode=0o4755))
    (scratch / "upper").mkdir()
    with Union([path], upper=scratch / "upper") as union:
        union.copy_up("f")
        st = union.stat("f")
        if _ROOT:
            assert (st.st_uid, st.st_gid, stat.S_IMODE(st.st_mode)) == (12, 34, 0o4755)
        else:
            assert (st.st_uid, st.st_gid, stat.S_IMODE(st.st_mode)) == (os.geteuid(), os.getegid(), 0o755)


@pytest.mark.parametrize(
    ("items", "reason"),
    [
        ([item(b"../f")], "upwards"),
        ([item(b".wh.")], "names nothing"),
        ([item(b"f/../../x")], "upwards"),
        ([hardlink(b"f", b"none")], "not in the layer"),
        ([directory(b"d/"), hardlink(b"f", b"d")], "directory"),
        ([symlink(b"a", b"b"), symlink(b"b", b"a"), item(b"a/f")], "too many"),
        ([item(b"f", content=b"x")[:512]], "truncated"),
    ],
)
def test_what_no_layer_may_be_is_refused(scratch: Path, items: list[bytes], reason: str) -> None:
    end = b"" if reason == "truncated" else write.END
    path = archive(scratch / "bad.tar", *items, end=end)
    with pytest.raises(InvalidInput, match=reason):
        Union([path])


def test_the_last_content_may_lack_its_padding(scratch: Path) -> None:
    with Union([archive(scratch / "short.tar", item(b"f", content=b"all of it")[: 512 + 9], end=b"")]) as union:
        assert union.read_bytes("/f") == b"all of it"


def test_links_lead_nowhere_outside(scratch: Path) -> None:
    (scratch / "secret").write_text("secret")
    path = archive(
        scratch / "links.tar",
        symlink(b"up", b"../../../.."), symlink(b"abs", os.fsencode(scratch)), item(b"up/tmp/f", content=b"inside"),
    )  # fmt: skip
    with Union([path]) as union:
        assert union.read_text("tmp/f") == "inside"
        assert not union.exists("abs/secret")


@pytest.mark.requires("tar")
def test_gnu_tars_archives(scratch: Path) -> None:
    top = scratch / "top"
    (top / "sub").mkdir(parents=True)
    (top / "sub" / ("n" * 90)).write_text("long")
    with open(top / "sparse", "wb") as file:
        file.seek(1 << 20)
        file.write(b"x" * 5000)
        file.truncate(3 << 20)
    os.link(top / "sparse", top / "sub/linked")
    for form in ("gnu", "pax", "ustar"):
        packed = scratch / f"{form}.tar"
        sparse = [] if form == "ustar" else ["--sparse"]
        subprocess.run(["tar", "-C", top, *sparse, f"--format={form}", "-cf", packed, "."], check=True)
        with Union([packed]) as union, Union([top]) as plain:
            assert _without_times(union) == _without_times(plain)


def _without_times(union: Union) -> dict[bytes, tuple[object, ...]]:
    # A plain archive has whole seconds.
    return {path: (*fields[:2], *fields[3:]) for path, fields in shown(union).items()}
