"""`lamina run host` as an ordinary user: what root owns is written to, what is closed begins empty."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from lamina.api import Store
from lamina.errors import Conflict
from lamina.runtime.unreadable import unreadable_names
from tests.helpers.command import Lamina
from tests.helpers.wait import until

pytestmark = pytest.mark.requires("user", "fuse")


def test_our_driver_is_chosen_and_named(lamina: Lamina) -> None:
    done = lamina("--verbose", "run", "--name", "box", "host", "sh", "-c", "grep ' / ' /proc/self/mounts")
    assert done.stdout.startswith("lamina / fuse.lamina ") and "default_permissions" in done.stdout
    assert "driver: our own, over FUSE" in done.stderr
    assert "not readable here, so empty once it is written to: /etc/shadow\n" in done.stderr
    (box,) = json.loads(lamina("inspect", "box").stdout)
    assert box["GraphDriver"]["Driver"] == "fuse"
    assert lamina("diff", "box").stdout == ""  # and no mount target stays
    done = lamina("run", "--rm", "--driver", "kernel", "host", "sh", "-c", "grep ' / ' /proc/self/mounts")
    assert done.stdout.split()[2] == "overlay"


def test_files_of_root_are_changed_inside_alone(lamina: Lamina) -> None:
    before = Path("/etc/passwd").read_bytes()
    code = (
        "echo lamina-test >>/etc/passwd && tail -n 1 /etc/passwd && stat -c '%u %g' /etc/passwd /etc /usr/bin/env &&"
        " mv /usr/share/doc /usr/share/moved && test ! -e /usr/share/doc && ls /usr/share/moved | wc -l &&"
        " rm /etc/profile && ls /etc/profile"
    )
    done = lamina("run", "--name", "box", "host", "sh", "-c", code, status=2)
    count = len(os.listdir("/usr/share/doc"))
    assert done.lines() == ["lamina-test", "0 0", "0 0", "0 0", str(count)]
    assert Path("/etc/passwd").read_bytes() == before and Path("/etc/profile").exists()
    changes = lamina("diff", "box").lines()
    assert {"C /etc/passwd", "D /usr/share/doc", "A /usr/share/moved"} <= set(changes)


def test_what_may_not_be_read_is_closed_and_begins_empty(lamina: Lamina) -> None:
    code = (
        "ls -ld /etc/shadow | cut -c1-10; cat /etc/shadow; ls /root; stat /root/.profile 2>&1 | grep -c 'No such';"
        "echo mine >>/etc/shadow; cat /etc/shadow; stat -c '%s %a' /etc/shadow;"
        "echo here >/root/file; ls -A /root; rm -r /root; ls -d /root; mkdir /root; ls -A /root"
    )
    done = lamina("run", "--name", "box", "host", "sh", "-c", code)
    assert done.lines() == ["-rw-r-----", "1", "mine", "5 640", "file"]
    told = done.stderr.splitlines()
    assert told[0] == "cat: /etc/shadow: Permission denied"
    assert "/root" in told[1] and told[1].endswith("Permission denied")
    assert told[2].endswith("'/root': No such file or directory")


def test_locks_of_package_managers_are_to_be_had(lamina: Lamina) -> None:
    code = (
        "import fcntl, os\n"
        "for path in ('/var/lib/dpkg/lock', '/var/lib/dpkg/lock-frontend', '/var/lib/apt/lists/lock',"
        " '/var/cache/apt/archives/lock'):\n"
        "    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o640)\n"
        "    fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)\n"
        "    print(os.fstat(fd).st_size)\n"
    )
    assert lamina("run", "--rm", "host", "/usr/bin/python3", "-c", code).lines() == ["0"] * 4
    lamina("run", "--rm", "host", "sh", "-c", "ldconfig && test -s /var/cache/ldconfig/aux-cache")


@pytest.mark.requires("apt-get", "dpkg-deb")
def test_a_package_is_installed_committed_and_used(lamina: Lamina, scratch: Path) -> None:
    tree = scratch / "package"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "usr/bin").mkdir(parents=True)
    (tree / "usr/bin/lamina-hello").write_text("#!/bin/sh\necho hello\n")
    (tree / "usr/bin/lamina-hello").chmod(0o755)
    control = "Package: lamina-hello\nVersion: 1\nArchitecture: all\nMaintainer: nobody\nDescription: none\n"
    (tree / "DEBIAN/control").write_text(control)
    (tree / "DEBIAN/postinst").write_text("#!/bin/sh\necho configured >/etc/lamina-hello\nldconfig\n")
    (tree / "DEBIAN/postinst").chmod(0o755)
    subprocess.run(["dpkg-deb", "--build", tree, scratch / "hello.deb"], check=True, capture_output=True)
    install = ["apt-get", "install", "-y", "-qq", "/tmp/hello.deb"]
    lamina("run", "--name", "box", "-v", f"{scratch}/hello.deb:/tmp/hello.deb", "host", *install)
    lamina("commit", "box", "hello:1")
    use = "lamina-hello; cat /etc/lamina-hello; dpkg-query -W lamina-hello"
    assert lamina("run", "--rm", "hello:1", "sh", "-c", use).lines() == ["hello", "configured", "lamina-hello\t1"]
    assert not os.path.lexists("/usr/bin/lamina-hello") and not os.path.lexists("/etc/lamina-hello")
    assert "lamina-hello" not in Path("/var/lib/dpkg/status").read_text()


def test_the_store_is_not_in_the_container(lamina: Lamina) -> None:
    parent, name = os.path.split(os.fspath(lamina.store))
    lamina("images")
    shown = lamina("run", "--rm", "host", "ls", "-A", parent).lines()
    assert name not in shown and set(shown) <= set(os.listdir(parent))


def test_a_container_keeps_its_driver(store_path: Path) -> None:
    with Store(store_path) as store, store.image("host").container() as box:
        box.run(["sh", "-c", "echo kept >/etc/lamina-kept"], check=True, driver="fuse")
        done = box.run(["cat", "/etc/lamina-kept"], check=True, text=True)
        assert done.stdout == "kept\n"
        with pytest.raises(Conflict, match="its changes lie as the fuse driver keeps them"):
            box.run(["true"], driver="kernel")
        assert "/etc/lamina-kept" in [change.path for change in box.diff()]


@pytest.mark.requires("fusermount3")
def test_layers_of_a_users_own_mount_are_changed(lamina: Lamina, scratch: Path) -> None:
    for name in ("base", "new", "merged"):
        (scratch / name).mkdir()
    (scratch / "new/fresh").write_text("fresh")
    lamina("mount", "--driver", "fuse", "--layer", "base", "merged")
    try:
        assert not (scratch / "merged/fresh").exists()
        lamina("remount", "--layer", "base", "--layer", "new", "merged")
        assert (scratch / "merged/fresh").read_text() == "fresh"
    finally:
        lamina("umount", "merged")


@pytest.mark.requires("fusermount3")
def test_a_users_mount_whose_server_was_killed_is_taken_away(lamina: Lamina, scratch: Path) -> None:
    for name in ("base", "merged"):
        (scratch / name).mkdir()
    lamina("mount", "--driver", "fuse", "--layer", "base", "merged")
    (server,) = [
        int(path.name)
        for path in Path("/proc").iterdir()
        if path.name.isdecimal() and path.stat().st_uid == os.getuid()
        and f"lamina.overlay.fuse\0{scratch}/merged".encode() in (path / "cmdline").read_bytes()
    ]  # fmt: skip
    os.kill(server, signal.SIGKILL)

    def is_cut() -> bool:
        try:
            os.listdir(scratch / "merged")
        except OSError as error:
            return error.errno == errno.ENOTCONN
        return False

    until(is_cut, "the mount answers ENOTCONN")
    lamina("umount", "merged")
    assert os.listdir(scratch / "merged") == []


def test_unreadable_names_are_listed(scratch: Path) -> None:
    for name in ("open/below", "closed/below", "own/proc"):
        (scratch / name).mkdir(parents=True)
    (scratch / "open/secret").write_text("")
    (scratch / "open/secret").chmod(0)
    (scratch / "hidden").mkdir(mode=0)
    (scratch / "closed").chmod(0o100)
    try:
        found = list(unreadable_names(str(scratch), hidden=(f"{scratch}/hidden",)))
        assert found == [f"{scratch}/closed/", f"{scratch}/open/secret"]  # what is near the root first
    finally:
        (scratch / "closed").chmod(0o700)
        (scratch / "hidden").chmod(0o700)
