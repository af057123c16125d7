"""What a command inside has and has not: namespaces, privileges, descriptors, devices, environment."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from lamina.ids.map import choose
from lamina.linux import capability
from lamina.runtime.plan import DEFAULT_CAPABILITIES
from tests.helpers import probes
from tests.helpers.boxes import make_image
from tests.helpers.command import Lamina, program, run

pytestmark = pytest.mark.requires("overlay", "userns")


def status_of(lamina: Lamina, *options: str) -> dict[str, str]:
    """Return the fields of /proc/self/status inside."""
    lines = lamina("run", "--rm", *options, "host", "cat", "/proc/self/status").lines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def bits(names: set[str]) -> int:
    return sum(1 << capability.number(name) for name in names)


@pytest.mark.parametrize("kind", ["ipc", "mnt", "pid", "uts", "cgroup", "user", "net"])
def test_namespaces(lamina: Lamina, kind: str) -> None:
    mine = os.readlink(f"/proc/self/ns/{kind}")
    inside = lamina("run", "--rm", "host", "readlink", f"/proc/self/ns/{kind}").stdout.strip()
    shared = kind == "net" or (kind == "user" and choose(os.geteuid(), os.getegid()).kind == "host")
    assert (inside == mine) == shared


def test_no_network(lamina: Lamina) -> None:
    look = "readlink /proc/self/ns/net; ls /sys/class/net; cat /sys/class/net/lo/flags; cat /etc/resolv.conf; hostname"
    done = lamina("run", "--rm", "--network", "none", "--hostname", "box", "host", "sh", "-c", look).lines()
    assert done[0] != os.readlink("/proc/self/ns/net")
    assert done[1:] == ["lo", "0x9", "box"], "loopback is up and alone, and no server is named"


def test_capabilities(lamina: Lamina) -> None:
    available = {capability.NAMES[number] for number in capability.bounding_set()}
    default = set(DEFAULT_CAPABILITIES) & available
    for options, expected in [
        ((), default),
        (("--cap-drop", "ALL"), set()),
        (("--cap-drop", "CHOWN", "--cap-add", "sys_ptrace"), (default | {"SYS_PTRACE"}) - {"CHOWN"}),
        (("--privileged",), available),
    ]:
        if not expected <= available:
            continue
        fields = status_of(lamina, *options)
        for name in ("CapPrm", "CapEff", "CapBnd"):
            assert int(fields[name], 16) == bits(expected), (options, name)
        assert int(fields["CapInh"], 16) == int(fields["CapAmb"], 16) == 0


def test_another_user_has_none(lamina: Lamina) -> None:
    if probes.who() == "plain" or not _has_many_ids():
        done = lamina("run", "--rm", "-u", "33", "host", "true", status=125)
        assert "that id does not exist in this user's id map" in done.stderr
        assert "hint: run as root inside (-u 0)" in done.stderr
        return
    look = "id -u; id -g; id -G; grep CapEff /proc/self/status; echo $HOME"
    lines = lamina("run", "--rm", "-u", "33:44", "-e", "HOME=/x", "host", "sh", "-c", look).lines()
    assert lines == ["33", "44", "44", "CapEff:\t0000000000000000", "/x"]
    named = lamina("run", "--rm", "-u", "nobody", "host", "sh", "-c", "id -un; id -gn").lines()
    assert named == ["nobody", "nogroup"]
    done = lamina("run", "--rm", "-u", "no-such-user", "host", "true", status=125)
    assert done.stderr == "lamina: cannot run as no-such-user: the image's /etc/passwd has no such user\n"


def _has_many_ids() -> bool:
    if probes.who() != "mapped":
        return True
    return sum(int(line.split()[2]) for line in Path("/proc/self/uid_map").read_text().splitlines()) > 1000


def test_no_new_privileges(lamina: Lamina) -> None:
    assert status_of(lamina)["NoNewPrivs"] == "0"
    assert status_of(lamina, "--security-opt", "no-new-privileges")["NoNewPrivs"] == "1"


def test_signals_and_mask_are_as_new(lamina: Lamina, scratch: Path) -> None:
    # The caller ignores signals and has a mask of files: nothing of it goes in.
    code = "trap '' PIPE TERM USR1 XFSZ; umask 077; exec \"$@\""
    words = [*program(), "run", "--rm", "host", "sh", "-c", "cat /proc/self/status; umask"]
    done = run(["sh", "-c", code, "sh", *words], env=lamina.environment(), cwd=scratch)
    masks = [int(line.split()[1], 16) for line in done.lines() if line.startswith(("SigBlk", "SigIgn", "SigCgt"))]
    of_the_c_library = 3 << 31  # signals 32 and 33, which it lets nobody change: they stay as they were inherited
    assert [mask & ~of_the_c_library for mask in masks] == [0, 0, 0]
    assert done.lines()[-1] == "0022"


def test_descriptors_of_the_caller_stay_outside(lamina: Lamina, scratch: Path) -> None:
    opened = [os.open(path, os.O_RDONLY) for path in ("/", "/etc/passwd")]
    read, write = os.pipe()
    try:
        words = [*program(), "run", "--rm", "host", "ls", "-l", "/proc/self/fd"]
        done = subprocess.run(
            words, env=lamina.environment(), cwd=scratch, pass_fds=[*opened, read, write], capture_output=True,
            text=True, check=True, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    finally:
        for fd in (*opened, read, write):
            os.close(fd)
    lines = done.stdout.splitlines()[1:]
    assert len(lines) == 4, done.stdout
    assert lines[-1].rstrip().endswith("/fd"), "the fourth is the listing's own"


@pytest.mark.parametrize("init", [(), ("--init",)])
def test_environment(lamina: Lamina, init: tuple[str, ...]) -> None:
    done = lamina("run", "--rm", *init, "--hostname", "box", "-e", "A=1\n2", "host", "env", "-0", env={"SECRET": "x"})
    found = dict(item.split("=", 1) for item in done.stdout.split("\0")[:-1])
    assert found.pop("APT_CONFIG", "/run/lamina/apt.conf") == "/run/lamina/apt.conf", "where there is one id only"
    assert found == {
        "HOME": found["HOME"], "HOSTNAME": "box", "A": "1\n2",
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    }  # fmt: skip


def test_every_mount_but_devices_is_nodev(lamina: Lamina) -> None:
    words = ("run", "--rm", "-v", "/etc:/mnt", "--tmpfs", "/media:exec,suid")
    lines = lamina(*words, "host", "cat", "/proc/self/mounts").lines()
    for line in lines:
        _, target, fstype, options, *_ = line.split()
        safe = "nodev" in options.split(",")
        is_device = target.startswith(("/dev/", "/proc/")) and fstype in ("devtmpfs", "tmpfs", "ext4", "devpts")
        assert safe or is_device, line
    assert any(line.split()[1] == "/mnt" for line in lines)


def test_devices_cannot_be_made_or_changed(lamina: Lamina) -> None:
    before = os.stat("/dev/null")
    look = (
        "for kind in 'b 7 0' 'c 1 3'; do for at in /tmp /dev /mnt /dev/shm; do"
        ' mknod $at/made $kind 2>/dev/null && head -c 1 "$at/made" 2>/dev/null && echo read $at;'
        " rm -f $at/made; done; done;"
        "chmod 600 /dev/null 2>/dev/null && echo chmod; chown 1 /dev/zero 2>/dev/null;"
        "rm /dev/null 2>/dev/null && echo rm;"
        "echo x >/dev/null && head -c 2 /dev/zero | wc -c"
    )
    done = lamina("run", "--rm", "--tmpfs", "/mnt", "host", "sh", "-c", look)
    assert done.lines() == ["2"], "no device was read, and those of /dev work"
    after = os.stat("/dev/null")
    assert (after.st_mode, after.st_uid, after.st_ino) == (before.st_mode, before.st_uid, before.st_ino)


def test_what_tells_of_the_host_is_covered(lamina: Lamina) -> None:
    look = (
        "cat /proc/kcore /proc/keys /proc/timer_list 2>/dev/null | head -c 1;"
        "ls /sys/firmware /proc/acpi /proc/scsi 2>/dev/null | grep -v -e : -e '^$';"
        "for f in /proc/sys/kernel/hostname /proc/sysrq-trigger /proc/irq/default_smp_affinity /sys/kernel/x; do"
        " (echo 0 >$f) 2>/dev/null && echo written $f; done; ls -d /proc/[0-9]* | wc -l"
    )
    done = lamina("run", "--rm", "host", "sh", "-c", look).lines()
    assert len(done) == 1 and int(done[0]) <= 4, done


def test_devices_that_were_asked_for(lamina: Lamina, scratch: Path) -> None:
    done = lamina("run", "--rm", "--device", "/dev/zero:/dev/made", "host", "head", "-c", "3", "/dev/made")
    assert done.stdout == "\0\0\0"
    done = lamina("run", "--rm", "--device", "/dev/no-such-device", "host", "true", status=125)
    assert "/dev/no-such-device" in done.stderr


def test_limits(lamina: Lamina) -> None:
    look = "ulimit -n; ulimit -Hn; ulimit -c"
    done = lamina("run", "--rm", "--ulimit", "nofile=50:60", "--ulimit", "core=0", "host", "sh", "-c", look)
    assert done.lines() == ["50", "60", "0"]
    done = lamina("run", "--rm", "--ulimit", "nofile=2147483647", "host", "true", status=125)
    assert done.stderr.startswith("lamina: cannot set the limit nofile=2147483647:2147483647: ")
    assert "hint: the hard limit here is " in done.stderr


def test_the_working_directory(lamina: Lamina, scratch: Path) -> None:
    image = make_image(lamina, scratch)
    assert lamina("run", "--rm", image, "sh", "-c", "pwd").stdout == "/\n", "nothing of the caller's"
    assert lamina("run", "--rm", "-w", "/a/b", image, "sh", "-c", "pwd; stat -c %a /a").lines() == ["/a/b", "755"]
    done = lamina("run", "--rm", "--read-only", "-w", "/a/b", image, "true", status=125)
    assert done.stderr == "lamina: cannot start in the directory /a/b: No such file or directory\n"
    done = lamina("run", "--rm", "-w", "/etc/passwd/x", image, "true", status=125)
    assert done.stderr == "lamina: cannot make the working directory /etc/passwd/x: Not a directory\n"


@pytest.mark.parametrize("name", ["a b", "a\nb", "x" * 65, "\udcff"])
def test_host_names_that_cannot_be(lamina: Lamina, name: str) -> None:
    done = lamina("run", "--rm", "--hostname", name, "host", "true", status=125)
    assert done.stderr.startswith("lamina: cannot use the host name ") and done.stderr.count("\n") == 1
