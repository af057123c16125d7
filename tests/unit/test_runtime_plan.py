"""From options to a plan: what is decided before anything is done."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from lamina.errors import InvalidInput, Unsupported, UsageError
from lamina.ids.map import HOST, IdMap
from lamina.linux import capability
from lamina.linux import mount as kernel
from lamina.runtime import steps
from lamina.runtime.launch import Launch
from lamina.runtime.plan import DEFAULT_CAPABILITIES, ImageFacts, Plan, image_base, plan, prepare
from lamina.runtime.spec import Bind, Device, RunOptions, Tmpfs

SINGLE = IdMap("single", 1000, 1000)


def planned(
    directory: str = "/c", facts: ImageFacts | None = None, ids: IdMap = HOST, term: str = "", **options: Any
) -> Plan:
    options.setdefault("command", ["true"])
    base = image_base(["/layer"], directory, ids, throw_away=False)
    return plan(
        base,
        facts or ImageFacts(),
        RunOptions(**options),
        directory=directory,
        filters="/kept",
        ids=ids,
        hostname="box",
        term=term,
    )


def steps_of(what: Plan) -> list[steps.Step]:
    return [steps.from_plain(plain) for plain in what.launch.steps]


def names(what: Plan) -> set[str]:
    return {capability.NAMES[number] for number in what.launch.capabilities}


AVAILABLE = {capability.NAMES[number] for number in capability.bounding_set()}
DEFAULT = set(DEFAULT_CAPABILITIES) & AVAILABLE


@pytest.mark.requires("sys_admin")
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, DEFAULT),
        ({"cap_add": ["sys_admin"]}, DEFAULT | {"SYS_ADMIN"}),
        ({"cap_add": ["CAP_SYS_ADMIN"], "cap_drop": ["chown"]}, (DEFAULT | {"SYS_ADMIN"}) - {"CHOWN"}),
        ({"cap_drop": ["ALL"]}, set()),
        ({"cap_drop": ["all"], "cap_add": ["kill"]}, {"KILL"}),
        ({"cap_add": ["ALL"]}, AVAILABLE),
        ({"cap_add": ["ALL"], "cap_drop": ["NET_RAW"]}, AVAILABLE - {"NET_RAW"}),
        ({"cap_add": ["KILL"], "cap_drop": ["KILL"]}, DEFAULT - {"KILL"}),
        ({"privileged": True}, AVAILABLE),
        ({"privileged": True, "cap_drop": ["ALL"]}, AVAILABLE),
    ],
)
def test_capabilities(options: dict[str, Any], expected: set[str]) -> None:
    assert names(planned(**options)) == expected


def test_unknown_capabilities() -> None:
    with pytest.raises(UsageError, match="there is no such capability"):
        planned(cap_add=["NOPE"])
    with pytest.raises(UsageError, match="there is no such capability"):
        planned(cap_drop=["NOPE"])


@pytest.mark.parametrize(
    ("facts", "options", "argv"),
    [
        ({}, {"command": ["a", "b"]}, ["a", "b"]),
        ({"command": ["c"]}, {"command": None}, ["c"]),
        ({"command": ["c"]}, {"command": ["d"]}, ["d"]),
        ({"entrypoint": ["e"], "command": ["c"]}, {"command": None}, ["e", "c"]),
        ({"entrypoint": ["e"], "command": ["c"]}, {"command": ["d"]}, ["e", "d"]),
        ({"entrypoint": ["e"], "command": ["c"]}, {"command": None, "entrypoint": ["f"]}, ["f"]),
        ({"entrypoint": ["e"], "command": ["c"]}, {"command": ["d"], "entrypoint": []}, ["d"]),
    ],
)
def test_what_is_run(facts: dict[str, Any], options: dict[str, Any], argv: list[str]) -> None:
    assert planned(facts=ImageFacts(**facts), **options).launch.argv == argv


@pytest.mark.parametrize("command", [None, [], [""]])
def test_nothing_to_run(command: list[str] | None) -> None:
    with pytest.raises(UsageError, match="no command is given"):
        planned(command=command)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"command": ["a\0b"]}, "NUL"),
        ({"env": {"A": "\0"}}, "NUL"),
        ({"command": ["\ud800"]}, "half a character"),
        ({"env": {"\ud800": ""}}, "half a character"),
        ({"workdir": "relative"}, "not an absolute path"),
        ({"workdir": "/\udfff\ud800"}, "half a character"),
        ({"hostname": "a\nb"}, "printable ASCII"),
        ({"hostname": "a b"}, "printable ASCII"),
        ({"hostname": "b\udcffx"}, "printable ASCII"),
        ({"hostname": "x" * 65}, "longer than 64"),
        ({"mounts": [Bind("/etc", "relative")]}, "not an absolute path"),
        ({"mounts": [Bind("/etc", "/a/..")]}, "the root itself"),
        ({"mounts": [Bind("/no/such/source", "/a")]}, "no such file or directory"),
    ],
)
def test_what_cannot_be(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        planned(**options)


def test_environment() -> None:
    facts = ImageFacts(env={"PATH": "/image", "A": "image", "B": "image"})
    env = planned(facts=facts, env={"B": "option"}, tty=True, term="vt100").launch.env
    assert env == {"PATH": "/image", "HOSTNAME": "box", "TERM": "vt100", "A": "image", "B": "option"}
    assert planned(tty=True).launch.env["TERM"] == "xterm"
    assert "TERM" not in planned(term="vt100").launch.env
    assert planned(hostname="other").launch.env["HOSTNAME"] == "other"


def test_one_id_is_told_to_apt() -> None:
    what = planned(ids=SINGLE)
    assert what.launch.env["APT_CONFIG"] == "/run/lamina/apt.conf"
    assert ("/c/apt.conf", b'APT::Sandbox::User "root";\n') in what.files
    assert what.launch.fake_owners
    assert planned(ids=SINGLE, env={"APT_CONFIG": "/mine"}).launch.env["APT_CONFIG"] == "/mine"
    assert not planned().launch.fake_owners and "APT_CONFIG" not in planned().launch.env


def _tmpfs(options: str) -> tuple[int, str]:
    (step,) = (
        step for step in steps_of(planned(mounts=[Tmpfs("/t", options=options)]))
        if isinstance(step, steps.FileSystem) and step.target == "/t"
    )  # fmt: skip
    return step.flags, step.data


def test_options_of_a_tmpfs() -> None:
    safe = kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC
    assert _tmpfs("") == (safe, "")
    assert _tmpfs("size=1m,mode=1777") == (safe, "size=1m,mode=1777")
    assert _tmpfs("ro,exec") == (kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_RDONLY, "")
    assert _tmpfs("rw,suid,nodev,exec,noexec") == (kernel.MS_NODEV | kernel.MS_NOEXEC, "")
    for word in ("dev", "context=x", "x"):
        with pytest.raises(UsageError, match="unknown option"):
            _tmpfs(word)


def test_every_mount_but_devices_is_nodev() -> None:
    mounts = [Bind("/etc", "/a"), Tmpfs("/b", options="exec,suid")]
    for step in steps_of(planned(mounts=mounts, devices=[Device("/dev/null")])):
        if isinstance(step, steps.FileSystem):
            assert step.flags & kernel.MS_NODEV or step.fstype == "devpts", step
        if isinstance(step, steps.BindPath):
            assert step.attributes & kernel.MOUNT_ATTR_NODEV or step.source.startswith("/dev/"), step


def test_targets_are_made_below_the_layers(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "file").touch()
    mounts = [
        Bind(f"{tmp_path}/file", "/deep/er/file", create=True),
        Bind(f"{tmp_path}/source", "/dir"),
        Bind(f"{tmp_path}/file", "/dir/inside"),
        Bind(f"{tmp_path}/missing", "/made", create=True),
    ]
    layer = tmp_path / "layer"
    layer.mkdir(mode=0o711)
    os.utime(layer, ns=(5, 5))
    what = planned(directory=f"{tmp_path}/c", mounts=mounts)
    what.uppers = [(upper, str(layer)) for upper, _ in what.uppers]
    prepare(what)
    prepare(what)
    upper = (tmp_path / "c" / "upper").stat()
    assert (stat.S_IMODE(upper.st_mode), upper.st_mtime_ns) == (0o711, 5), "the upper looks like what is below it"
    tree = tmp_path / "c" / "targets"
    assert (tree / "deep" / "er" / "file").is_file(), "a file of -v is mounted on a file"
    assert (tree / "dir").is_dir() and (tree / "made").is_dir() and (tree / "proc").is_dir()
    assert not (tree / "dir" / "inside").exists(), "it lies in another mount"
    assert not (tree / "dev" / "null").exists()
    assert (tree / "etc" / "hosts").is_file()
    assert {path.name for path in (tmp_path / "c").iterdir()} == {
        "hostname", "hosts", "merged", "resolv.conf", "targets", "upper", "work",
    }  # fmt: skip
    assert not (tmp_path / "missing").exists(), "a plan changes nothing of the host's"


def test_deeper_targets_come_later() -> None:
    mounts = [Bind("/etc", "/a/b/c"), Tmpfs("/a"), Bind("/etc", "/a/b")]
    targets = [getattr(step, "target", "") for step in steps_of(planned(mounts=mounts))]
    assert [target for target in targets if target.startswith("/a")] == ["/a", "/a/b", "/a/b/c"]


def test_a_plan_crosses_to_another_process() -> None:
    what = planned(mounts=[Bind("/etc", "/a"), Tmpfs("/b")], read_only=True, network="none", init=True)
    again = Launch(**what.launch.plain())  # type: ignore[arg-type]  # plain data
    assert again == what.launch
    assert [steps.to_plain(steps.from_plain(plain)) for plain in again.steps] == what.launch.steps
    assert isinstance(steps_of(what)[0], steps.Private) and isinstance(steps_of(what)[-1], steps.Pivot)


def test_read_only_is_the_last_but_the_pivot() -> None:
    assert isinstance(steps_of(planned(read_only=True))[-2], steps.Seal)
    assert not any(isinstance(step, steps.Seal) for step in steps_of(planned()))
    assert not planned(read_only=True).launch.create_workdir


def test_privileged_covers_nothing() -> None:
    kinds = (steps.Mask, steps.ReadOnly)
    assert not any(isinstance(step, kinds) for step in steps_of(planned(privileged=True)))
    assert sum(isinstance(step, kinds) for step in steps_of(planned())) > 10


def test_what_this_process_lacks_cannot_be_added() -> None:
    planned(cap_add=sorted(AVAILABLE))
    for missing in set(capability.NAMES) - AVAILABLE:
        with pytest.raises(Unsupported, match="cannot have it itself"):
            planned(cap_add=[missing])
