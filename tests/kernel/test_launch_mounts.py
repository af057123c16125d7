"""What a container is given to see: -v, --tmpfs, --read-only; targets that links of an image lead elsewhere."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers.boxes import MORE, make_image
from tests.helpers.command import Lamina
from tests.helpers.rootfs import make_rootfs

pytestmark = pytest.mark.requires("overlay", "userns")


def test_files_and_directories(lamina: Lamina, scratch: Path) -> None:
    image = make_image(lamina, scratch)
    shared = scratch / "shared"
    (shared / "sub").mkdir(parents=True)
    (shared / "file").write_text("from the host\n")
    words = [
        "-v", f"{shared}:/a", "-v", f"{shared}:/b:ro", "-v", f"{shared}/file:/deep/er/file", "-v", f"{shared}:/a/sub",
        "-v", f"{scratch}/missing:/made", "--mount", f"type=bind,source={shared}/file,target=/etc/motd,readonly",
    ]  # fmt: skip
    look = (
        "cat /a/file /deep/er/file /etc/motd /a/sub/file; echo new >/a/new; touch /made/here;"
        "for f in /b/file /etc/motd; do (echo x >$f) 2>/dev/null && echo written $f; done; ls /b"
    )
    done = lamina("run", "--name", "box", *words, image, "sh", "-c", look)
    assert done.lines() == ["from the host"] * 4 + ["file", "new", "sub"]
    assert (shared / "new").read_text() == "new\n"
    assert (scratch / "missing" / "here").exists(), "as docker's -v, and not its --mount, does"
    assert lamina("diff", "box").stdout == "", "what was made to be mounted on is not a change"
    done = lamina("run", "--rm", "--mount", f"type=bind,source={scratch}/none,target=/x", image, "true", status=125)
    assert f"{scratch}/none: no such file or directory" in done.stderr
    lamina("rm", "box")


def test_read_only(lamina: Lamina, scratch: Path) -> None:
    image = make_image(lamina, scratch)
    (scratch / "shared").mkdir()
    look = "for d in / /tmp /etc /mnt /t /dev/shm; do touch $d/x 2>/dev/null && echo $d; done; :"
    words = ("--read-only", "-v", f"{scratch}/shared:/mnt", "--tmpfs", "/t")
    assert lamina("run", "--rm", *words, image, "sh", "-c", look).lines() == ["/mnt", "/t", "/dev/shm"]


def test_a_read_only_host_has_no_hole(lamina: Lamina) -> None:
    done = lamina("run", "--rm", "--read-only", "host", "cat", "/proc/self/mounts").lines()
    overlays = [line.split() for line in done if line.split()[2] in ("overlay", "fuse.lamina")]
    assert overlays and all(options.split(",")[0] == "ro" for _, _, _, options, *_ in overlays), overlays


def test_options_of_a_tmpfs(lamina: Lamina) -> None:
    words = ("--tmpfs", "/media:size=1m,mode=700,exec", "--tmpfs", "/mnt")
    done = lamina("run", "--rm", *words, "host", "sh", "-c", "grep -E '/(media|mnt) ' /proc/self/mounts").lines()
    options = {line.split()[1]: line.split()[3].split(",") for line in done}
    assert {"rw", "nosuid", "nodev", "size=1024k", "mode=700"} <= set(options["/media"])
    assert "noexec" not in options["/media"] and "noexec" in options["/mnt"]
    lamina("run", "--rm", "--tmpfs", "/mnt:dev", "host", "true", status=2)


def _link(path: Path, target: str) -> None:
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    path.symlink_to(target)


@pytest.mark.parametrize("target", ["/srv", "srv", "../../../srv", "/srv/", "//srv"])
def test_a_link_of_the_image_cannot_lead_outside(lamina: Lamina, scratch: Path, target: str) -> None:
    make_rootfs(scratch / "rootfs", MORE)
    (scratch / "rootfs" / "evil").symlink_to(target)
    (scratch / "shared").mkdir()
    (scratch / "shared" / "file").touch()
    lamina("import", scratch / "rootfs", "evil:1")
    before = os.listdir("/srv")
    look = "ls /srv/deep /evil/deep; readlink /evil"
    done = lamina("run", "--name", "box", "-v", f"{scratch}/shared:/evil/deep", "evil:1", "sh", "-c", look)
    assert done.lines() == ["/evil/deep:", "file", "", "/srv/deep:", "file", target]
    assert os.listdir("/srv") == before
    assert lamina("diff", "box").stdout == "", "what was made to be mounted on is not a change"
    lamina("rm", "box")


def test_a_target_with_dots(lamina: Lamina, scratch: Path) -> None:
    image = make_image(lamina, scratch)
    (scratch / "shared").mkdir()
    (scratch / "shared" / "file").touch()
    for target in ("/a/../mnt", "/../../mnt", "//mnt//", "/a/./../../mnt/."):
        done = lamina("run", "--rm", "-v", f"{scratch}/shared:{target}", image, "ls", "/mnt")
        assert done.stdout == "file\n", target
    lamina("run", "--rm", "-v", f"{scratch}/shared:/a/..", image, "ls", "/mnt", status=2)


def _file(path: Path) -> None:
    if path.is_dir():
        path.rmdir()
    path.write_text("a file\n")


@pytest.mark.parametrize("name", ["proc", "sys", "dev"])
@pytest.mark.parametrize(
    "change",
    [lambda path: _link(path, "/tmp"), lambda path: _link(path, "tmp"), lambda path: _link(path, "none"),
     lambda path: _link(path, path.name), _file],
    ids=["absolute", "relative", "dangling", "looping", "file"],
)  # fmt: skip
def test_an_image_cannot_move_what_is_the_kernels(
    lamina: Lamina, scratch: Path, name: str, change: Callable[[Path], None]
) -> None:
    make_rootfs(scratch / "rootfs", MORE)
    change(scratch / "rootfs" / name)
    lamina("import", scratch / "rootfs", "odd:1")
    done = lamina("run", "--rm", "odd:1", "true", status=125)
    assert f"/{name}" in done.stderr and done.stderr.count("\n") == 1, done.stderr
    assert lamina("ps", "-aq").stdout == ""


def test_an_image_without_places_to_mount_on(lamina: Lamina, scratch: Path) -> None:
    make_rootfs(scratch / "rootfs", MORE)
    for name in ("proc", "sys", "dev"):
        (scratch / "rootfs" / name).rmdir()
    lamina("import", scratch / "rootfs", "bare:1")
    done = lamina("run", "--name", "box", "bare:1", "sh", "-c", "cat /etc/hostname; ls /dev/null /proc/self/comm")
    assert done.lines()[1:] == ["/dev/null", "/proc/self/comm"]
    assert lamina("diff", "box").stdout == ""
    lamina("rm", "box")


@pytest.mark.parametrize(
    ("target", "status"),
    [("/run/resolv", 0), ("../run/resolv", 0), ("../../../../run/resolv", 0), ("resolv.conf", 125)],
)
def test_resolv_conf_may_be_a_link(lamina: Lamina, scratch: Path, target: str, status: int) -> None:
    make_rootfs(scratch / "rootfs", MORE)
    (scratch / "rootfs" / "etc" / "resolv.conf").symlink_to(target)
    lamina("import", scratch / "rootfs", "odd:1")
    done = lamina("run", "--name", "box", "odd:1", "cat", "/etc/resolv.conf", status=status)
    if status:
        assert "Too many levels of symbolic links" in done.stderr and done.stderr.count("\n") == 1
    else:
        assert done.stdout == Path("/etc/resolv.conf").read_text()
        assert "resolv" not in lamina("diff", "box").stdout
    lamina("rm", "--all")


def test_etc_may_be_odd(lamina: Lamina, scratch: Path) -> None:
    make_rootfs(scratch / "rootfs", MORE)
    etc = scratch / "rootfs" / "etc"
    etc.rename(scratch / "rootfs" / "usr" / "etc")
    etc.symlink_to("/usr/etc")
    lamina("import", scratch / "rootfs", "linked:1")
    assert lamina("run", "--rm", "linked:1", "cat", "/usr/etc/hostname").stdout.strip()
    etc.unlink()
    etc.write_text("a file\n")
    lamina("import", scratch / "rootfs", "file:1")
    done = lamina("run", "--rm", "file:1", "true", status=125)
    assert "/etc" in done.stderr and done.stderr.count("\n") == 1
    etc.unlink()
    (etc / "passwd").mkdir(parents=True)
    lamina("import", scratch / "rootfs", "folder:1")
    assert lamina("run", "--rm", "folder:1", "sh", "-c", "echo $HOME").stdout == "/\n"
