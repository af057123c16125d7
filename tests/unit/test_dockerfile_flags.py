"""The small languages of flags: mounts, modes, ports, durations."""

from __future__ import annotations

import pytest

from lamina.build.dockerfile.durations import format_duration, parse_duration
from lamina.build.dockerfile.expand import Expander
from lamina.build.dockerfile.instructions import Expose, Run, ShellForm
from lamina.build.dockerfile.modes import parse_mode
from lamina.build.dockerfile.mounts import BindMount, CacheMount, Mount, SecretMount, SshMount, TmpfsMount
from lamina.build.dockerfile.ports import BadPort, Ports, parse_ports
from lamina.build.dockerfile.signals import is_signal
from lamina.build.dockerfile.source import DockerfileError, Word

_VARIABLES = {"name": "pip", "base": "/root", "type": "cache"}


def _mount(text: str) -> Mount:
    run = Run(ShellForm("x"), mounts=(Word(text),))
    (mount,) = Expander(_VARIABLES).mounts(run)
    return mount


@pytest.mark.parametrize(
    ("text", "mount"),
    [
        ("target=/x", BindMount("/x")),
        ("type=bind,from=base,source=/a,target=/x,rw", BindMount("/x", "/a", "base", read_only=False)),
        ("src=a,dst=x,readwrite=false", BindMount("x", "a")),
        ("destination=/x,ro=0", BindMount("/x", read_only=False)),
        ("type=cache,target=$base/.cache/${name}", CacheMount("/root/.cache/pip", "/root/.cache/pip")),
        ("type=$type,target=//a/./b/", CacheMount("//a/./b/", "/a/b")),
        ("TYPE=Cache,id=$name,target=/c,sharing=LOCKED,ro", CacheMount("/c", "pip", sharing="locked", read_only=True)),
        (
            "type=cache,target=/c,from=x,source=y,mode=0700,uid=1,gid=2",
            CacheMount("/c", "/c", "y", "x", mode=0o700, uid=1, gid=2),
        ),
        ("type=tmpfs,target=/t", TmpfsMount("/t")),
        ("type=tmpfs,target=/t,size=1.5k", TmpfsMount("/t", 1536)),
        ("type=tmpfs,target=/t,size=2 GiB,readonly", TmpfsMount("/t", 2 << 30, read_only=True)),
        ("type=tmpfs,target=/t,size=10b", TmpfsMount("/t", 10)),
        ("type=secret,id=aws", SecretMount("aws", "/run/secrets/aws")),
        ("type=secret,src=dir/aws", SecretMount("dir/aws", "/run/secrets/aws")),
        ("type=secret,target=/root/key,mode=0440,uid=7", SecretMount("key", "/root/key", mode=0o440, uid=7)),
        ("type=secret,id=a,env=TOKEN,required", SecretMount("a", None, "TOKEN", required=True)),
        ("type=secret,id=a,env=", SecretMount("a", None, "a")),
        ("type=secret,id=a,env=T,target=/t", SecretMount("a", "/t", "T")),
        ("required=true,type=secret,id=a", SecretMount("a", "/run/secrets/a", required=True)),
        ("type=ssh", SshMount()),
        ("type=ssh,id=x,target=/s,mode=0666,gid=3", SshMount("x", "/s", mode=0o666, gid=3)),
        ('type=cache,"target=/a,b","id=say ""hi"""', CacheMount("/a,b", "say hi")),
        ("target=/a b,source='c d'", BindMount("/a b", "c d")),
        ("target=$unset", BindMount("")),
    ],
)
def test_mounts(text: str, mount: Mount) -> None:
    assert _mount(text) == mount


@pytest.mark.parametrize(
    "text", ["", "type=x", "uid=1,target=/x", "type=secret,from=x,id=y", "type=ssh,source=x", "ro=2", '"a', '"a"b']
)
def test_mounts_that_are_none(text: str) -> None:
    with pytest.raises(DockerfileError):
        _mount(text)


def test_what_a_mount_lacks() -> None:
    expander = Expander({})
    expander.mounts(Run(ShellForm("x"), mounts=(Word("target=/$one,source=$two"),)))
    assert set(expander.missing) == {"one", "two"}


@pytest.mark.parametrize(
    ("text", "before", "is_directory", "after"),
    [
        ("644", 0o777, False, 0o644),
        ("04755", 0, False, 0o4755),
        ("0", 0o777, False, 0),
        ("u+x", 0o644, False, 0o744),
        ("+x", 0o644, False, 0o755),
        ("a-w", 0o666, False, 0o444),
        ("go=", 0o777, False, 0o700),
        ("=", 0o7777, False, 0o1000),
        ("=r", 0o4755, False, 0o444),
        ("u=rwX,go=rX", 0o600, False, 0o644),
        ("u=rwX,go=rX", 0o700, False, 0o755),
        ("u=rwX,go=rX", 0o600, True, 0o755),
        ("-X", 0o755, False, 0o644),
        ("a=,a+X", 0o100, False, 0o111),
        ("g=u", 0o741, False, 0o771),
        ("o=u-w", 0o700, False, 0o705),
        ("go+u", 0o740, False, 0o777),
        ("u-g", 0o770, False, 0o070),
        ("u+s,g+s,+t", 0o755, False, 0o7755),
        ("o+s", 0o755, False, 0o755),
        ("=t", 0o4641, False, 0o5641),
        ("-wst", 0o1402, False, 0o402),
        ("u=rg", 0o740, False, 0o440),
        ("a=,u+g", 0o070, False, 0),
        ("u=rw,u+x-r", 0, False, 0o300),
        ("ug+rw,o-rwx", 0o007, False, 0o660),
    ],
)
def test_modes(text: str, before: int, is_directory: bool, after: int) -> None:
    mode = parse_mode(text)
    assert mode is not None
    assert mode.apply(0o100000 | before, is_directory=is_directory) == after


@pytest.mark.parametrize(
    "text", ["", "8", "0o644", "10000", "99", "u", "u+x,", "x", "+q", "u+x g+x", ",", "u~x", "٣", "7" * 30]
)
def test_modes_that_are_none(text: str) -> None:
    assert parse_mode(text) is None


@pytest.mark.parametrize(
    ("text", "ports"),
    [
        ("80", Ports(80, 80)),
        ("53/udp", Ports(53, 53, "udp", "udp")),
        ("80/", Ports(80, 80)),
        ("1-3/SCTP", Ports(1, 3, "sctp", "SCTP")),
        ("8080:80", Ports(80, 80, published=True)),
        ("127.0.0.1:8080:80/tcp", Ports(80, 80, "tcp", "tcp", published=True)),
        ("[::1]:1:2", Ports(2, 2, published=True)),
        ("::1:1:2", Ports(2, 2, published=True)),
        ("1000-2000:80", Ports(80, 80, published=True)),
    ],
)
def test_ports(text: str, ports: Ports) -> None:
    assert parse_ports(text) == ports


@pytest.mark.parametrize(
    "text", ["", "x", "/tcp", "80/xyz", "65536", "-1", "3-1", "1-", "1.2.3:1:2", "1-2:80-82", "٣", "9" * 30]
)
def test_ports_that_are_none(text: str) -> None:
    with pytest.raises(BadPort):
        parse_ports(text)


def test_ports_of_an_instruction() -> None:
    expose = Expose((Word("443"), Word("$more"), Word("10-12")))
    filled = Expander({"more": "80 53/udp"}).instruction(expose)
    assert Expander.ports(filled) == ("80/tcp", "53/udp", "10/tcp", "11/tcp", "12/tcp", "443/tcp")
    with pytest.raises(DockerfileError, match="http: http is no port"):
        Expander.ports(Expander({"more": "http"}).instruction(expose))


@pytest.mark.parametrize("text", ["TERM", "sigterm", "SIGRTMIN+15", "rtmax-14", "9", "-1", "99"])
def test_signals(text: str) -> None:
    assert is_signal(text)


@pytest.mark.parametrize("text", ["", "0", "TREM", "SIGSIGTERM", "RTMIN+16", "RTMAX-15", "9.5", "٣"])
def test_signals_that_are_none(text: str) -> None:
    assert not is_signal(text)


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("0", 0),
        ("5s", 5 * 10**9),
        ("1m30s", 90 * 10**9),
        ("1.5h", 5400 * 10**9),
        (".5ms", 500_000),
        ("1h1m1s1ms1us1ns", 3_661_001_001_001),
        ("+2µs", 2000),
        ("-1s", -(10**9)),
    ],
)
def test_durations(text: str, nanoseconds: int) -> None:
    assert parse_duration(text) == nanoseconds
    assert parse_duration(format_duration(nanoseconds)) == nanoseconds


@pytest.mark.parametrize("text", ["", "5", "s", "5 s", "5s5", "1d", ".s", "--1s", "9999999999h", "٣s"])
def test_durations_that_are_none(text: str) -> None:
    assert parse_duration(text) is None
