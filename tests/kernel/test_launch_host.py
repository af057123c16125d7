"""The image `host`: nothing of this machine changes, and nothing of its processes and of the store is seen."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.helpers.command import Lamina

pytestmark = pytest.mark.requires("overlay", "userns")


def test_writes_stay_inside(lamina: Lamina, scratch: Path) -> None:
    (scratch / "file").write_text("before\n")
    (scratch / "kept").mkdir()
    names = set(os.listdir("/etc")), set(os.listdir("/"))
    look = (
        f"cat {scratch}/file; echo after >{scratch}/file; rm -r {scratch}/kept; echo x >{scratch}/new;"
        f"cat {scratch}/file; ls {scratch}; touch /etc/lamina-made 2>/dev/null; rm -f /etc/hostname.x; :"
    )
    done = lamina("run", "--rm", "host", "sh", "-c", look).lines()
    assert done[0] == "before"
    assert (scratch / "file").read_text() == "before\n"
    assert (scratch / "kept").is_dir() and not (scratch / "new").exists()
    assert (set(os.listdir("/etc")), set(os.listdir("/"))) == names


def test_the_store_is_hidden(lamina: Lamina) -> None:
    # By the kernel's driver an empty directory stands there, by ours nothing.
    assert lamina("run", "--rm", "host", "ls", "-A", lamina.store, status=None).stdout == ""
    assert lamina("run", "--rm", "host", "sh", "-c", f"touch {lamina.store}/x 2>/dev/null || echo no").stdout == "no\n"


def test_processes_are_unseen(lamina: Lamina) -> None:
    look = f"set -- /proc/[0-9]*; echo $#; test -e /proc/{os.getpid()}/exe && cat /proc/{os.getpid()}/comm; :"
    assert lamina("run", "--rm", "host", "sh", "-c", look).lines() == ["1"]


@pytest.mark.requires("root")
def test_a_mount_that_another_one_covers(lamina: Lamina, scratch: Path) -> None:
    from lamina.linux.mount import MNT_DETACH, mount, umount2

    place = scratch / "place"
    place.mkdir()
    mounted: list[str] = []
    try:
        for path in (place, place / "inner", place):
            path.mkdir(exist_ok=True)
            mount("tmpfs", str(path), "tmpfs", 0)
            mounted.append(str(path))
        (place / "top").touch()
        done = lamina("run", "--rm", "host", "sh", "-c", f"ls {place}; touch {place}/made; ls {place}")
        assert done.lines() == ["top", "made", "top"]
        assert os.listdir(place) == ["top"]
    finally:
        for path_name in (str(place), f"{place}/inner", str(place)):
            umount2(path_name, MNT_DETACH)


@pytest.mark.requires("root")
def test_a_change_over_the_host_runs_over_it(lamina: Lamina) -> None:
    lamina("run", "--commit", "change:1", "host", "sh", "-c", "echo x >/etc/lamina-made; rm /etc/debian_version")
    look = (
        "cat /etc/lamina-made; test -e /etc/debian_version || echo gone; echo y >/etc/lamina-made;"
        "cat /etc/passwd | wc -l"
    )
    done = lamina("run", "--rm", "change:1", "sh", "-c", look).lines()
    with open("/etc/passwd", "rb") as file:
        assert done == ["x", "gone", str(len(file.readlines()))]
    assert not os.path.exists("/etc/lamina-made") and os.path.exists("/etc/debian_version")
