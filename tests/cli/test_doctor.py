"""`lamina doctor` in sandboxes from which one thing is taken away: it names that, and agrees with what `run` can do.

Root makes each sandbox in a mount namespace of its own, and the three kinds of users ask in it.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import lamina as lamina_api
from lamina.doctor.child import carry_out
from lamina.doctor.values import Host, Probe
from lamina.ids.map import HOST
from tests.helpers import probes, users
from tests.helpers.command import Lamina, program, run
from tests.helpers.rootfs import make_rootfs
from tests.helpers.trees import remove_tree

ROOT = Path(__file__).parents[2]

ALL = ("root", *users.USERS)
SUB, PLAIN = users.USERS
ORDINARY = (SUB, PLAIN)


@dataclass(frozen=True, slots=True)
class Sandbox:
    """What is taken away, and what doctor has to say.

    `before` is shell text of root's before the image is imported, `spoil` after it; the user's store is in `$home`.
    `deny` is for tests.helpers.deny. `fails` are the checks that fail in it and not outside, for those `whom` it
    concerns; `says` is in the text of the first of them; `runs` tells whether containers still work, `starts`
    that one starts nevertheless.
    """

    name: str
    fails: tuple[str, ...]
    says: str
    runs: bool = False
    starts: bool = False
    before: str = ""
    spoil: str = ""
    deny: str = ""
    whom: tuple[str, ...] = ALL
    remedy: str = ""


def _unshare(flag: int) -> str:
    return f"unshare:0:{flag:#x}=EPERM"


_SYSCTL = "mount -t tmpfs -o mode=755 none /proc/sys/kernel; echo {value} >/proc/sys/kernel/{name}"
_NO_FUSE = """
mkdir "$home/dev"
mount -t tmpfs -o mode=755 none "$home/dev"
for name in null zero full random urandom tty; do
    : >"$home/dev/$name"
    mount --bind "/dev/$name" "$home/dev/$name"
done
mount --rbind "$home/dev" /dev
"""

SANDBOXES = [
    Sandbox("nothing taken away", (), "", runs=True),
    Sandbox(
        "seccomp",
        ("user namespace",),
        "a seccomp filter of an outer container answers Operation not permitted",
        deny=_unshare(0x10000000),
        whom=ORDINARY,
    ),
    Sandbox(
        "apparmor",
        ("user namespace",),
        "AppArmor restricts",
        spoil=_SYSCTL.format(name="apparmor_restrict_unprivileged_userns", value=1),
        deny=_unshare(0x10000000),
        whom=ORDINARY,
        remedy="sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
    ),
    Sandbox(
        "apparmor's namespace without power",
        ("user namespace",),
        "AppArmor restricts",
        spoil=_SYSCTL.format(name="apparmor_restrict_unprivileged_userns", value=1),
        deny=_unshare(0x00020000),
        whom=ORDINARY,
        remedy="sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
    ),
    Sandbox(
        "clone",
        ("user namespace",),
        "kernel.unprivileged_userns_clone is 0",
        spoil=_SYSCTL.format(name="unprivileged_userns_clone", value=0),
        deny=_unshare(0x10000000),
        whom=ORDINARY,
        remedy="sysctl -w kernel.unprivileged_userns_clone=1",
    ),
    Sandbox(
        "limit",
        ("user namespace",),
        "user.max_user_namespaces is 0 or used up",
        deny="unshare:0:0x10000000=ENOSPC",
        whom=ORDINARY,
        remedy="sysctl -w user.max_user_namespaces=10000",
    ),
    *(
        Sandbox(
            f"no {name}", (f"{name} namespace",), "Operation not permitted", deny=_unshare(flag), whom=("root", PLAIN)
        )
        for name, flag in [("pid", 0x20000000), ("ipc", 0x08000000), ("uts", 0x04000000), ("cgroup", 0x02000000)]
    ),
    Sandbox("no network", ("network namespace",), "not permitted", runs=True, deny=_unshare(0x40000000)),
    Sandbox("no mounts", ("mount namespace",), "not permitted", deny=_unshare(0x00020000), whom=("root",)),
    Sandbox(
        "no filters",
        ("seccomp filter",),
        "Function not implemented",
        deny="seccomp=ENOSYS",
        whom=("root", PLAIN),
    ),
    Sandbox(
        "no kernel overlay",
        ("kernel overlay", "mount API"),
        "not permitted",
        runs=True,
        deny="fsconfig:1:6=EPERM",  # FSCONFIG_CMD_CREATE
        whom=("root",),
    ),
    Sandbox(
        "no owners",
        ("owners",),
        "not permitted",
        runs=True,
        deny="fchownat=EPERM,fchown=EPERM,chown=EPERM",
        whom=("root",),
    ),
    Sandbox(
        "no cgroups",
        ("cgroups",),
        "may not make groups",
        runs=True,
        spoil="mount -t tmpfs none /sys/fs/cgroup",
        whom=("root",),
    ),
    Sandbox("no pivot_root", ("root of its own",), "not permitted", deny="pivot_root=EPERM"),
    Sandbox(
        "an older kernel",
        ("mount API",),
        "from before Linux 5.12",
        runs=True,
        deny="fsopen=ENOSYS,mount_setattr=ENOSYS,openat2=ENOSYS,close_range=ENOSYS",
    ),
    Sandbox(
        "a masked /proc",
        ("own /proc",),
        "an outer container masks parts of /proc",
        runs=True,
        spoil="mount -t tmpfs none /proc/bus",
        whom=ORDINARY,
    ),
    Sandbox(
        "no FUSE device",
        ("FUSE device",),
        "No such file",
        runs=True,
        spoil=_NO_FUSE,
        remedy="modprobe fuse",
    ),
    Sandbox(
        "a full store",
        ("room in the store",),
        "No space left",
        before='mount -t tmpfs -o size=32m,mode=777 none "$home"',
        spoil='dd if=/dev/zero of="$home/fill" bs=4k status=none || true',
    ),
    Sandbox(
        "a store without inodes",
        ("store",),
        "No space left",
        before='mount -t tmpfs -o nr_inodes=400,mode=777 none "$home"',
        spoil='n=0; while (: >"$home/$n") 2>/dev/null; do n=$((n+1)); done',
    ),
    Sandbox(
        "a store that is read-only",
        ("store",),
        "cannot be written",
        spoil='mount --bind "$store" "$store"; mount -o remount,bind,ro "$store"',
    ),
    Sandbox(
        "a store on a file system without attributes",
        ("extended attributes",),
        "on ramfs",
        starts=True,  # but what it deletes and makes again is an error
        before='mount -t ramfs -o mode=777 none "$home"; chmod 777 "$home"',
    ),
    Sandbox(
        "a store where nothing may be executed",
        (),
        "",
        runs=True,
        before='mount -t tmpfs -o noexec,nosuid,nodev,mode=777 none "$home"',
    ),
    Sandbox(
        "no helper programs",
        ("range of ids", "store", "git", "mmdebstrap"),
        "newuidmap and newgidmap not found",
        spoil="for name in newuidmap newgidmap fusermount3 git mmdebstrap; do hide $name; done",
        whom=(SUB,),
        remedy="apt-get install uidmap",
    ),
]

_SCRIPT = """
set -eu
store=$1 deny=$2 before=$3 spoil=$4 python=$5 rootfs=$6
home=${store%/store}
shift 6
hide() {
    for directory in /usr/bin /usr/sbin /usr/local/bin; do
        [ ! -e "$directory/$1" ] || mount --bind /dev/null "$(readlink -f "$directory/$1")"
    done
}
eval "$before"
"$@" import "$rootfs" tiny:1 >/dev/null
eval "$spoil"
cd /
doctor=0 run=0
"$python" -m tests.helpers.deny "$deny" "$@" doctor --format json || doctor=$?
"$python" -m tests.helpers.deny "$deny" "$@" run --rm tiny:1 true >&2 || run=$?
echo "status $doctor $run"
"""


def tree(path: Path) -> set[str]:
    """Return all names below a directory."""
    return {str(found) for found in path.rglob("*")}


@dataclass(frozen=True, slots=True)
class Found:
    """What doctor said in a sandbox, and the statuses of doctor and of a run."""

    json: dict[str, Any]
    doctor: int
    run: int
    stderr: str

    def fails(self) -> set[str]:
        """Return the checks that do not work."""
        return {check["Name"] for check in self.json["Checks"] if check["State"] == "fails"}

    def check(self, name: str) -> dict[str, Any]:
        """Return one check."""
        (found,) = (check for check in self.json["Checks"] if check["Name"] == name)
        return dict(found)


class Clinic:
    """Everything that the sandboxes share: a root file system, and a copy of the package that all users can read."""

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        self.python = f"{sys.base_prefix}/bin/python3.{sys.version_info.minor}"
        make_rootfs(scratch / "rootfs")
        for name in ("src/lamina", "tests"):
            shutil.copytree(ROOT / name, scratch / name, ignore=shutil.ignore_patterns("__pycache__"))
        libraries = Path(sysconfig.get_path("platlib"))
        for path in (libraries / "isal", libraries / "backports"):  # what an import needs
            if path.exists():
                shutil.copytree(path, scratch / "src" / path.name)
        run(["chmod", "-R", "a+rX", str(scratch)])

    def ask(self, sandbox: Sandbox, name: str) -> Found:
        """Let the user `name` ask doctor in the sandbox, and start a container there."""
        place = self.scratch / f"of-{name}"
        place.mkdir()
        lamina = [self.python, "-m", "lamina"]
        if name != "root":
            shutil.chown(place, name, name)
            lamina = users.as_user(name, lamina)
        env = {
            **(users.environment(name) if name != "root" else {"PATH": os.environ["PATH"], "HOME": "/root"}),
            "LAMINA_ROOT": str(place / "store"),
            "PYTHONPATH": f"{self.scratch}/src:{self.scratch}",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        words = [env["LAMINA_ROOT"], sandbox.deny, sandbox.before, sandbox.spoil, self.python]
        argv = ["unshare", "--mount", "--propagation", "private", "sh", "-c", _SCRIPT, "sh"]
        try:
            done = run([*argv, *words, str(self.scratch / "rootfs"), *lamina], env=env)
        finally:
            remove_tree(str(place))
        text, _, statuses = done.stdout.rpartition("status ")
        doctor, ran = map(int, statuses.split())
        return Found(json.loads(text), doctor, ran, done.stderr)


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clinic]:
    users.ensure_users()
    path = Path(tempfile.mkdtemp(dir=probes.scratch_base()))
    path.chmod(0o755)
    yield Clinic(path)
    remove_tree(str(path))


@pytest.fixture(scope="module")
def whole(clinic: Clinic) -> dict[str, set[str]]:
    """What fails on this machine for each user, with nothing taken away."""
    return {name: clinic.ask(Sandbox("whole", (), ""), name).fails() for name in ALL}


CASES = [
    pytest.param(sandbox, name, id=f"{sandbox.name}-{name}".replace(" ", "-"))
    for sandbox in SANDBOXES
    for name in sandbox.whom
]


@pytest.mark.requires("root", "setpriv", "overlay")
@pytest.mark.parametrize(("sandbox", "name"), CASES)
def test_what_is_taken_away_is_named(clinic: Clinic, whole: dict[str, set[str]], sandbox: Sandbox, name: str) -> None:
    found = clinic.ask(sandbox, name)
    shown = [(check["Name"], check["Text"]) for check in found.json["Checks"] if check["State"] != "works"]
    assert found.fails() - whole[name] == set(sandbox.fails), shown
    if sandbox.fails:
        check = found.check(sandbox.fails[0])
        assert sandbox.says in check["Text"]
        if sandbox.remedy:
            assert check["Remedy"]["debian"] == sandbox.remedy
            assert check["Remedy"]["fedora"]
            assert check["Remedy"]["arch"]
    assert found.json["CanRun"] == sandbox.runs
    assert found.doctor == (0 if sandbox.runs else 1)
    assert found.run == (0 if sandbox.runs or sandbox.starts else 125), f"doctor is wrong about run: {found.stderr}"


def test_as_whoever_runs_the_tests(lamina: Lamina, store_path: Path) -> None:
    found = json.loads(lamina("doctor", "--format", "json", status=None).stdout)
    assert not store_path.exists(), "asking makes no store"
    assert os.listdir(store_path.parent) == []
    table = lamina("doctor", status=None).stdout
    for check in found["Checks"]:
        assert f"{check['Name']} " in table
        assert check["State"] in {"works", "fails", "unknown"}
        assert set(check["Remedy"]) == {"debian", "fedora", "arch"}
    lines = table.splitlines()
    assert lines[-1].startswith("lamina run works" if found["CanRun"] else "lamina run cannot work")


@pytest.mark.requires("user")
def test_a_user_is_told_what_of_the_machine_is_closed(lamina: Lamina) -> None:
    found = json.loads(lamina("doctor", "--format", "json", status=None).stdout)["Unreadable"]
    assert "/etc/shadow" in found["Names"] and len(found["Names"]) <= 20
    for name in found["Names"]:
        with pytest.raises(PermissionError):
            os.listdir(name) if name.endswith("/") else open(name, "rb").close()
    lines = lamina("doctor", status=None).lines()
    title = lines.index("Names of this machine that you cannot read; over `host` they are listed, and closed:")
    assert "    /etc/shadow" in lines[title : title + 21]
    assert lines[-2] == "" and ("more" in lines[-3]) == bool(found["More"] or not found["Complete"])


@pytest.mark.requires("root")
def test_to_root_nothing_is_closed(lamina: Lamina) -> None:
    done = lamina("doctor", "--format", "json", status=None)
    assert json.loads(done.stdout)["Unreadable"] == {"Names": [], "More": 0, "Complete": True}
    assert "cannot read" not in lamina("doctor", status=None).stdout


@pytest.mark.requires("overlay", "userns")
def test_where_tests_run_containers_do(lamina: Lamina) -> None:
    lamina("images")  # which makes the store
    before = tree(lamina.store)
    assert lamina("doctor").lines()[-1] == "lamina run works."
    assert tree(lamina.store) == before, "nothing stays in the store"


@pytest.mark.requires("userns")
@pytest.mark.parametrize("flags", [("--user", "--map-root-user"), ("--user", "--map-root-user", "--mount")])
def test_no_more_namespaces(lamina: Lamina, flags: tuple[str, ...]) -> None:
    script = 'echo 0 >/proc/sys/user/max_user_namespaces; exec "$@" doctor --format json'
    argv = ["unshare", *flags, "sh", "-c", script, "sh", *program()]
    done = run(argv, env=lamina.environment(), cwd=lamina.cwd, status=1)
    checks = {check["Name"]: check for check in json.loads(done.stdout)["Checks"]}
    assert checks["user namespace"]["Text"] == "user.max_user_namespaces is 0 or used up"
    assert checks["user namespace"]["Remedy"]["arch"] == "sysctl -w user.max_user_namespaces=10000"
    assert checks["pid namespace"]["State"] == "unknown"


def test_a_probe_that_hangs_or_dies_is_unknown(tmp_path: Path) -> None:
    host = Host(os.geteuid(), os.getegid(), HOST, str(tmp_path), str(tmp_path), "")

    def hang(_: Host) -> str:
        os.fork()  # a child that holds the answer open, too
        signal.pause()
        raise AssertionError

    def die(_: Host) -> str:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError

    hung = carry_out(Probe("hang", "nothing", hang), host, limit=0.2)
    assert (hung.state, hung.text) == ("unknown", "no answer within 0.2 seconds")
    died = carry_out(Probe("die", "nothing", die), host)
    assert (died.state, died.text) == ("unknown", "the process that tried it was killed")


def test_from_python(store_path: Path) -> None:
    found = lamina_api.diagnose(store_path)
    assert {check.name for check in found.checks} >= {"store", "kernel overlay", "cgroups"}
    assert isinstance(found.can_run, bool)
    assert len(found.unreadable.names) <= 20
    assert not store_path.exists()
