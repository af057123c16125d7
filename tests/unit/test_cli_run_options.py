"""Reading the texts of run's options, with docker's meanings."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from lamina.cli import run_options as options
from lamina.errors import InvalidInput, UsageError
from lamina.runtime.spec import Bind, Device, Tmpfs, Ulimit


@pytest.mark.parametrize(
    ("text", "bind"),
    [
        ("/a:/b", Bind("/a", "/b", create=True)),
        ("/a/:/b/../c/", Bind("/a", "/c", create=True)),
        ("/a:/b:ro", Bind("/a", "/b", read_only=True, create=True)),
        ("/a:/b:ro,z", Bind("/a", "/b", read_only=True, create=True)),
        ("/a:/b:rw,rprivate", Bind("/a", "/b", create=True)),
        ("./a:/b", Bind(os.path.abspath("a"), "/b", create=True)),
        ("/a b,c:/b", Bind("/a b,c", "/b", create=True)),
    ],
)
def test_volume(text: str, bind: Bind) -> None:
    assert options.parse_volume(text) == bind


@pytest.mark.parametrize(
    ("text", "mount"),
    [
        ("type=bind,source=/a,target=/b", Bind("/a", "/b")),
        ("target=/b,src=/a,type=bind,readonly", Bind("/a", "/b", read_only=True)),
        ("type=bind,src=/a,dst=/b,ro=true", Bind("/a", "/b", read_only=True)),
        ("type=bind,src=/a,destination=/b,readonly=false,bind-propagation=rprivate", Bind("/a", "/b")),
        ('type=bind,"src=/a,""b""",dst=/b', Bind('/a,"b"', "/b")),
        ("type=tmpfs,target=/t", Tmpfs("/t")),
        ("type=tmpfs,dst=/t,tmpfs-size=64m,tmpfs-mode=1770,ro", Tmpfs("/t", options="size=64m,mode=1770,ro")),
    ],
)
def test_mount(text: str, mount: Bind | Tmpfs) -> None:
    assert options.parse_mount(text) == mount


def test_the_others() -> None:
    assert options.parse_tmpfs("/t") == Tmpfs("/t")
    assert options.parse_tmpfs("/t:size=64m,mode=1777") == Tmpfs("/t", options="size=64m,mode=1777")
    assert options.parse_device("/dev/fuse") == Device("/dev/fuse")
    assert options.parse_device("/dev/fuse:rwm") == Device("/dev/fuse")
    assert options.parse_device("/dev/fuse:/dev/f:mwr") == Device("/dev/fuse", "/dev/f")
    assert options.parse_ulimit("nofile=1024:4096") == Ulimit("nofile", 1024, 4096)
    assert options.parse_ulimit("nofile=1024") == Ulimit("nofile", 1024, 1024)
    assert options.parse_ulimit("core=0:-1") == Ulimit("core", 0, -1)
    assert options.parse_ulimit("core=unlimited") == Ulimit("core", -1, -1)
    assert options.parse_add_host("db:10.0.0.1") == ("db", "10.0.0.1")
    assert options.parse_add_host("db=::1") == ("db", "::1")
    assert options.parse_add_host("db:[fe80::1]") == ("db", "fe80::1")
    assert options.parse_add_host("db:fe80::1") == ("db", "fe80::1")
    assert options.parse_labels(["a=b=c", "d", "a=e"]) == {"a": "e", "d": ""}
    assert options.parse_security([]) == (False, "")
    assert options.parse_security(["no-new-privileges", "seccomp=unconfined"]) == (True, "unconfined")
    assert options.parse_security(["no-new-privileges:true", "no-new-privileges=false"]) == (False, "")
    assert options.parse_security(["seccomp:/a/../profile.json"]) == (False, "/profile.json")


@pytest.mark.parametrize(
    ("parse", "text", "reason"),
    [
        (options.parse_volume, "/data", "it is not SOURCE:TARGET[:OPTIONS]"),
        (options.parse_volume, "data:/data", "SOURCE is not a path"),
        (options.parse_volume, "/a:b", "TARGET has to be an absolute path"),
        (options.parse_volume, "/a:/", "TARGET cannot be /"),
        (options.parse_volume, "/a:/b/..", "TARGET cannot be /"),
        (options.parse_volume, "/a:/b:shared", "shared is no option of it"),
        (options.parse_volume, "/a:/b:ro,", "an empty word is no option of it"),
        (options.parse_mount, "", "lamina has no volumes"),
        (options.parse_mount, "type=volume,src=x,dst=/y", "lamina has no volumes"),
        (options.parse_mount, "type=npipe,dst=/y", "type is bind or tmpfs, not 'npipe'"),
        (options.parse_mount, "type=bind,dst=/y", "source is missing"),
        (options.parse_mount, "type=bind,src=/x", "TARGET is missing"),
        (options.parse_mount, "type=bind,src=/x,dst=/y,tmpfs-size=1", "tmpfs-size is no key of type=bind"),
        (options.parse_mount, "type=bind,src=/x,dst=/y,", "an empty word is no key of type=bind"),
        (options.parse_mount, "type=tmpfs,dst=/y,source=/x", "source is no key of type=tmpfs"),
        (options.parse_mount, "type=bind,src=/x,dst=/y,ro=maybe", "'maybe' is not true or false"),
        (options.parse_mount, 'type=bind,"src=/x', "a quote is not closed"),
        (options.parse_mount, "type=bind,src=/x,dst=/y,bind-propagation=shared", "bind-propagation is always rprivate"),
        (options.parse_tmpfs, "tmp", "TARGET has to be an absolute path"),
        (options.parse_device, "fuse", "it is not DEVICE[:TARGET]"),
        (options.parse_device, "/dev/fuse:/a:/b", "it is not DEVICE[:TARGET]"),
        (options.parse_device, "/dev/fuse:r", "the access cannot be limited to r"),
        (options.parse_ulimit, "files=1", "there is no limit 'files'"),
        (options.parse_ulimit, "nofile", "'' is no number and not unlimited"),
        (options.parse_ulimit, "nofile=2:1", "the soft limit is above the hard one"),
        (options.parse_ulimit, "nofile=-1:1", "the soft limit is above the hard one"),
        (options.parse_ulimit, f"nofile={1 << 64}", f"'{1 << 64}' is no number and not unlimited"),
        (options.parse_add_host, "db", "it is not HOST:ADDRESS"),
        (options.parse_add_host, "db:nowhere", "'nowhere' is no IP address"),
    ],
)
def test_what_is_refused(parse: Callable[[str], object], text: str, reason: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse(text)
    assert raised.value.reason == reason
    assert raised.value.subject.startswith("--") and raised.value.subject.endswith(text)


def test_environment() -> None:
    here = {"HOME": "/home/me", "EMPTY": ""}
    assert options.env_entries(["A=b", "B=", "HOME", "NONE", "EMPTY", "A=c=d"], here) == {
        "A": "c=d",
        "B": "",
        "HOME": "/home/me",
        "EMPTY": "",
    }
    with pytest.raises(UsageError, match="a variable needs a name"):
        options.env_entries(["=x"], here)


def test_environment_file() -> None:
    data = b"\xef\xbb\xbfA=b\r\n# no\n\n  B='kept as it is' # this too\nHOME\nNONE\nC="
    assert options.parse_env_file(data, "f", {"HOME": "/h"}) == {
        "A": "b",
        "B": "'kept as it is' # this too",
        "HOME": "/h",
        "C": "",
    }


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"A=1\nA B=2\n", "cannot read the variable in f:2: the line is not NAME=VALUE"),
        (b"=2\n", "cannot read the variable in f:1: the line is not NAME=VALUE"),
        (b"A=\0", "cannot read the variable in f:1: the line is not NAME=VALUE"),
        (b"\n\nA=\xff\n", "cannot read the variable in f:3: the line is not UTF-8"),
    ],
)
def test_lines_of_an_environment_file_that_are_none(data: bytes, reason: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        options.parse_env_file(data, "f", {})
    assert str(raised.value) == reason
