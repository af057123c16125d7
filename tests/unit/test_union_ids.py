"""Owners that are not the disk's: mapped, squashed, recorded in an xattr; and what a layer keeps of them."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from lamina.errors import UsageError
from lamina.events import ignore
from lamina.layer.jobs import capture_layer
from lamina.layer.owners import read as read_owners
from lamina.overlay import recorded
from lamina.overlay.format import USER
from lamina.overlay.union.owners import read_options
from lamina.overlay.union.union import Union

KEPT = [("squash_to_root", ""), ("owners", "xattr")]


@pytest.fixture
def top(scratch: Path) -> Path:
    for name in ("a/sub", "upper", "work"):
        (scratch / name).mkdir(parents=True)
    (scratch / "a/sub/file").write_text("text")
    (scratch / "a/sub/file").chmod(0o640)
    return scratch


def over(top: Path, *options: tuple[str, str]) -> Union:
    return Union([top / "a"], upper=top / "upper", work=top / "work", sync=False, options=options, userxattr=True)


def owner(union: Union, path: str) -> tuple[int, int]:
    st = union.lstat(path)
    return st.st_uid, st.st_gid


def own_map(to_uid: int, to_gid: int) -> tuple[tuple[str, str], tuple[str, str]]:
    return ("uidmapping", f"{os.getuid()}:{to_uid}:1"), ("gidmapping", f"{os.getgid()}:{to_gid}:1")


def test_ids_are_mapped_both_ways(top: Path) -> None:
    with over(top, *own_map(5, 6)) as union:
        assert owner(union, "sub/file") == (5, 6)
        union.chmod("sub/file", 0o600)
        union.write_text("new", "")
        union.chown("new", 5, 6)
        assert owner(union, "sub/file") == owner(union, "new") == (5, 6)
        st = (top / "upper/sub/file").stat()
        assert (st.st_uid, st.st_gid) == (os.getuid(), os.getgid())
        with pytest.raises(OSError) as caught:
            union.chown("new", 7, -1)
        assert caught.value.errno == errno.EINVAL


def test_an_id_outside_of_the_ranges_is_the_overflow_id(top: Path) -> None:
    with over(top, ("uidmapping", f"{os.getuid() + 1}:0:10")) as union:
        assert owner(union, "sub") == (int(Path("/proc/sys/kernel/overflowuid").read_text()), os.getgid())


def test_what_the_map_lacks_is_recorded_where_that_is_asked_for(top: Path) -> None:
    with over(top, *own_map(0, 0), ("owners", "xattr")) as union:
        union.chown("sub/file", 7, -1)
        assert owner(union, "sub/file") == (7, 0)
    with over(top, *own_map(0, 0), ("owners", "xattr")) as union:
        assert owner(union, "sub/file") == (7, 0)
        union.chown("sub/file", 0, 0)
        assert owner(union, "sub/file") == (0, 0)


def test_squashed_owners_do_not_change(top: Path) -> None:
    with over(top, ("squash_to_uid", "8"), ("squash_to_gid", "9")) as union:
        union.chown("sub/file", 1, 1)
        assert owner(union, "sub/file") == owner(union, "") == (8, 9)
        assert (top / "upper/sub/file").stat().st_uid == os.getuid()


def test_a_recorded_owner_outlives_the_union(top: Path) -> None:
    with over(top, *KEPT) as union:
        union.chown("sub/file", 33, 34)
        union.chmod("sub/file", 0o4750)
        union.chown("sub", 35, 36)
        assert union.listxattr("sub/file") == []
        with pytest.raises(OSError):
            union.getxattr("sub/file", "user.lamina.missing")
    assert stat.S_IMODE((top / "upper/sub/file").stat().st_mode) == 0o750
    assert os.getxattr(top / "upper/sub/file", recorded.ATTRIBUTE) == b"33:34:4750"
    with over(top, *KEPT) as union:
        assert owner(union, "sub/file") == (33, 34) and owner(union, "sub") == (35, 36)
        assert union.stat("sub/file").st_mode == stat.S_IFREG | 0o4750
        union.chown("sub/file", 1, -1)
        assert union.stat("sub/file").st_mode == stat.S_IFREG | 0o750  # as chown(2) does
        union.rename("sub/file", "moved")
        union.link("moved", "again")
        assert owner(union, "moved") == owner(union, "again") == (1, 34)
    with over(top) as plain:
        assert owner(plain, "moved") == (os.getuid(), os.getgid())
        assert plain.listxattr("moved") == []


def test_a_mode_that_locks_its_owner_out_is_recorded(top: Path) -> None:
    with over(top, *KEPT) as union:
        union.chmod("sub/file", 0)
        assert union.stat("sub/file").st_mode == stat.S_IFREG
        assert union.read_text("sub/file") == "text"


@pytest.mark.requires("user")
def test_a_device_that_is_refused_is_recorded(top: Path) -> None:
    with over(top, *KEPT) as union:
        union.mknod("null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    with over(top, *KEPT) as union:
        st = union.stat("null")
        assert (st.st_mode, st.st_rdev) == (stat.S_IFCHR | 0o666, os.makedev(1, 3))
    assert (top / "upper/null").stat().st_size == 0


@pytest.mark.parametrize("name", ["user.fuseoverlayfs.override_stat", "user.containers.override_stat"])
def test_other_spellings_are_read(top: Path, name: str) -> None:
    os.setxattr(top / "a/sub/file", name, b"12:13:4711:file")
    with over(top, ("owners", "xattr")) as union:
        assert owner(union, "sub/file") == (12, 13)
        assert union.stat("sub/file").st_mode == stat.S_IFREG | 0o4711
        union.chown("sub/file", 14, -1)
        assert owner(union, "sub/file") == (14, 13)


def test_a_layer_has_the_recorded_owners(top: Path) -> None:
    with over(top, *KEPT) as union:
        union.chown("sub/file", 33, 34)
        union.chmod("sub/file", 0o6750)
        union.write_bytes("device", b"")
        union.write_text("new", "")
    os.setxattr(top / "upper/device", recorded.ATTRIBUTE, b"0:5:0620:block-8-1")
    capture_layer(
        uppers=[["", str(top / "upper")]], below=[str(top / "a")], owners_below=[], ignore=[],
        staging=str(top / "layer"), space=USER, single_id=True, on_event=ignore,
    )  # fmt: skip
    table = read_owners(str(top / "layer/owners"))
    assert (table[b"sub/file"].uid, table[b"sub/file"].gid, table[b"sub/file"].mode) == (33, 34, 0o6750)
    if os.geteuid() == 0:
        st = (top / "layer/tree/device").stat()
        assert stat.S_ISBLK(st.st_mode) and st.st_rdev == os.makedev(8, 1)
    else:
        assert table[b"device"].device == (b"4", 8, 1)
    assert table[b"device"].gid == 5
    assert not any(name.startswith("user.lamina") for name in os.listxattr(top / "layer/tree/sub/file"))


@pytest.mark.parametrize(
    "text",
    [
        b"", b"1:2", b"1:2:3:4:5", b"-1:0:644", b"0:0:9", b"4294967295:0:644", b"0:0:644:char-0-0", b"0:0:644:char-1",
        b"0:0:644:block-9999999999-1", b"x:y:z", b"0:0:644:\xff",
    ],
)  # fmt: skip
def test_no_value_in_a_layer_makes_an_error_or_a_device(top: Path, text: bytes) -> None:
    os.setxattr(top / "a/sub/file", recorded.ATTRIBUTE, text)
    with over(top, ("owners", "xattr")) as union:
        assert stat.S_ISREG(union.stat("sub/file").st_mode)
        assert union.read_text("sub/file") == "text"


def test_a_record_is_its_text() -> None:
    for record in (recorded.Record(1, 2, 0o7777), recorded.Record(0, 0, 0, stat.S_IFBLK, os.makedev(259, 70000))):
        again = recorded.parse(record.text())
        assert again is not None
        assert again.text() == record.text() and again.rdev == record.rdev


@pytest.mark.parametrize(
    "option",
    [("uidmapping", "1:2"), ("gidmapping", "a:b:c"), ("squash_to_uid", "-1"), ("squash_to_gid", "4294967295"),
     ("owners", "disk")],
)  # fmt: skip
def test_a_value_that_cannot_be_is_refused(option: tuple[str, str]) -> None:
    with pytest.raises(UsageError, match=option[0]):
        read_options([option])
