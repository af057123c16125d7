"""`-u` with docker's rules, over files that an image made."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lamina.errors import InvalidInput
from lamina.runtime.users import read_database, resolve

PASSWD = (
    b"root:x:0:0:root:/root:/bin/sh\n"
    b"# a comment\n"
    b"broken:x:1\n"
    b"app:x:1000:100:App:/home/app:/bin/sh\n"
    b"1001:x:2000:200::/home/digits:\n"
    b"nohome:x:3000:300:::\n"
    b"bad:x:many:0::/:\n"
    b"negative:x:-1:0::/:\n"
    b"huge:x:4294967295:0::/:\n"
    b"app:x:7:7:second:/second:\n"
)
GROUP = b"root:x:0:\nstaff:x:50:app,root\naudio:x:29:app\nbroken:x\nbad:x:zz:app\n4000:x:44:\n"


@pytest.mark.parametrize(
    ("wanted", "uid", "gid", "groups", "home"),
    [
        ("", 0, 0, [0, 50], "/root"),
        ("root", 0, 0, [0, 50], "/root"),
        ("0", 0, 0, [0, 50], "/root"),
        ("app", 1000, 100, [29, 50, 100], "/home/app"),
        ("1000", 1000, 100, [29, 50, 100], "/home/app"),
        ("app:staff", 1000, 50, [50], "/home/app"),
        ("app:7777", 1000, 7777, [7777], "/home/app"),
        ("1000:0", 1000, 0, [0], "/home/app"),
        ("5555", 5555, 0, [0], "/"),
        ("5555:audio", 5555, 29, [29], "/"),
        ("5555:6666", 5555, 6666, [6666], "/"),
        ("1001", 1001, 0, [0], "/"),
        ("app:4000", 1000, 4000, [4000], "/home/app"),
        ("nohome", 3000, 300, [300], "/"),
        (":audio", 0, 29, [29], "/root"),
        ("4294967294", 4294967294, 0, [0], "/"),
    ],
)
def test_users(wanted: str, uid: int, gid: int, groups: list[int], home: str) -> None:
    user = resolve(wanted, PASSWD, GROUP)
    assert (user.uid, user.gid, user.groups, user.home) == (uid, gid, groups, home)


@pytest.mark.parametrize(
    "wanted",
    ["nobody", "broken", "bad", "negative", "huge", "-1", "4294967295", "99999999999999999999", "app:nogroup",
     "app:bad", "app:", "app:-5", "0x10", "1 ", "\u0663", "\ud800", "a\0b"],
)  # fmt: skip
def test_who_is_not_there(wanted: str) -> None:
    with pytest.raises(InvalidInput):
        resolve(wanted, PASSWD, GROUP)


def test_no_files() -> None:
    user = resolve("", b"", b"")
    assert (user.uid, user.gid, user.groups, user.home) == (0, 0, [0], "/")


def test_a_home_that_no_environment_can_hold() -> None:
    user = resolve("0", b"root:x:0:0::/ro\0ot:\nroot:x:0:0::/good:\n", b"")
    assert user.home == "/good", "a line with NUL is damaged"


LINES = st.lists(
    st.one_of(st.binary(max_size=30), st.sampled_from(PASSWD.splitlines() + GROUP.splitlines())), max_size=8
).map(b"\n".join)


@given(st.one_of(st.text(max_size=8), st.sampled_from(["root", "app", "1000:staff", "1001"])), LINES, LINES)
@example("root", b"root:x:99999999999:0::/:", b"")
def test_files_may_say_anything(wanted: str, passwd: bytes, group: bytes) -> None:
    try:
        user = resolve(wanted, passwd, group)
    except InvalidInput:
        return
    assert 0 <= user.uid < 1 << 32 and 0 <= user.gid < 1 << 32
    assert user.home and "\0" not in user.home
    assert all(0 <= number < 1 << 32 for number in user.groups)


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "passwd").write_bytes(PASSWD)
    assert read_database(f"{tmp_path}/passwd") == PASSWD
    assert read_database(f"{tmp_path}/none") == b""
    assert read_database(str(tmp_path)) == b""
    os.mkfifo(tmp_path / "fifo")
    assert read_database(f"{tmp_path}/fifo") == b"", "and nobody waits for its writer"
    assert read_database("/dev/zero") == b""
    with open(tmp_path / "large", "wb") as file:
        file.truncate((8 << 20) + 1)
    assert read_database(f"{tmp_path}/large") == b""
