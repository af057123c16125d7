"""Attacks that have public numbers, tried against containers and builds. docs/security.md says what each is about."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lamina.linux.libc import call
from lamina.linux.paths import openat2
from tests.helpers import probes
from tests.helpers.boxes import MORE, make_image
from tests.helpers.command import Lamina, program
from tests.helpers.rootfs import make_rootfs

_EXCHANGE = 2  # renameat2(2)

pytestmark = pytest.mark.requires("userns", "overlay")


def import_tree(lamina: Lamina, scratch: Path, *changes: str) -> str:
    """Import what lies in `scratch`/rootfs, and return the image's name."""
    words = [word for change in changes for word in ("--change", change)]
    lamina("import", *words, scratch / "rootfs", "evil:1")
    return "evil:1"


@pytest.mark.parametrize("name", ["script", "link", "indirect", "relative"])
def test_cve_2019_5736_the_interpreter_is_not_started_again(lamina: Lamina, scratch: Path, name: str) -> None:
    make_rootfs(scratch / "rootfs", MORE)
    at = scratch / "rootfs" / "bin"
    (at / "script").write_text("#!/proc/self/exe\n")
    (at / "link").symlink_to("/proc/self/exe")
    (at / "indirect").write_text("#! /bin/link -c pass\n")
    (at / "relative").write_text("#!/bin/../proc/thread-self/exe\n")
    for each in ("script", "indirect", "relative"):
        (at / each).chmod(0o755)
    image = import_tree(lamina, scratch)
    for init in ((), ("--init",)):
        done = lamina("run", "--rm", *init, image, name, status=126)
        assert "a link of /proc leads to it" in done.stderr and done.stderr.count("\n") == 1


def test_cve_2019_5736_the_init_shows_nobody_its_program(lamina: Lamina, scratch: Path) -> None:
    image = make_image(lamina, scratch)
    done = lamina("run", "--rm", "--init", image, "sh", "-c", "readlink /proc/1/exe || cat /proc/1/mem || echo closed")
    assert done.stdout == "closed\n"


@pytest.mark.parametrize("create", [False, True])
def test_cve_2024_21626_no_way_out_through_a_working_directory(lamina: Lamina, scratch: Path, create: bool) -> None:
    image = make_image(lamina, scratch)
    (scratch / "outside").write_text("outside")
    before = {path for path in scratch.rglob("*") if "store" not in path.parts}
    for number in range(3, 24):
        path = f"/proc/self/fd/{number}" + ("/made/below" if create else "")
        up = "../" * 24
        done = lamina("run", "--rm", "-w", path, image, "cat", f"{up}{scratch}/outside", status=None)
        # Where a filter hides openat2, what the link says is looked for in the container, and not found or empty.
        assert done.status == (125 if has_openat2() else done.status or -1) and done.stdout == "", (path, done)
    assert {path for path in scratch.rglob("*") if "store" not in path.parts} == before
    made = import_tree(lamina, scratch, "WORKDIR /proc/self/cwd/../..")
    done = lamina("run", "--rm", made, "cat", f"{scratch}/outside".lstrip("/"), status=None)
    assert done.status and done.stdout == ""


def test_cve_2024_21626_in_a_build(lamina: Lamina, scratch: Path) -> None:
    image = make_image(lamina, scratch)
    (scratch / "context").mkdir()
    (scratch / "outside").write_text("outside")
    for number in (4, 6, 8, 10):
        text = f"FROM {image}\nWORKDIR /proc/self/fd/{number}\nRUN cat {'../' * 24}{scratch}/outside\n"
        (scratch / "context" / "Dockerfile").write_text(text)
        done = lamina("build", "context", status=None)
        assert done.status == 125 and "outside\n" not in done.stderr.splitlines()


def has_openat2() -> bool:
    """Return whether this kernel, or the filter of the tests that stands for an older one, has the call."""
    try:
        os.close(openat2(-100, b"/", os.O_PATH, 0, 0))
    except OSError:
        return False
    return True


@contextmanager
def flipping(path: Path, target: str) -> Iterator[None]:
    """Make `path` a directory and a link to `target`, in turns, as fast as possible, until the block ends."""
    ended = threading.Event()
    link = path.with_name("link")
    (path / "below").mkdir(parents=True)
    link.symlink_to(target)

    def flip() -> None:
        while not ended.is_set():
            call("renameat2", -100, os.fsencode(path), -100, os.fsencode(link), _EXCHANGE)

    thread = threading.Thread(target=flip)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def test_cve_2021_30465_a_link_exchanged_while_it_is_mounted_on(lamina: Lamina, scratch: Path) -> None:
    image = make_image(lamina, scratch)
    for name in ("volume", "marker", "outside"):
        (scratch / name).mkdir()
    (scratch / "marker" / "file").touch()
    (scratch / "outside" / "below").mkdir()
    mounts = ("-v", f"{scratch}/volume:/volume", "-v", f"{scratch}/marker:/volume/place/below")
    with flipping(scratch / "volume" / "place", f"{scratch}/outside"):
        for _ in range(12):
            done = lamina(
                "run", "--rm", *mounts, image, "sh", "-c", "grep /volume/ /proc/self/mountinfo; ls /bin/sh", status=None
            )
            assert done.status in (0, 125) and f"{scratch}/outside" not in done.stdout.replace(f"{scratch}/marker", "")
            assert done.status or "/bin/sh" in done.stdout
    assert os.listdir(scratch / "outside") == ["below"] and os.listdir(scratch / "outside" / "below") == []


@pytest.mark.parametrize("target", ["/proc/self/fd/3", "/proc/1/root/mnt", "/link", "/dev/fd/4", "/proc/self/cwd/x"])
def test_cve_2023_27561_a_mount_through_links_of_proc(lamina: Lamina, scratch: Path, target: str) -> None:
    make_rootfs(scratch / "rootfs", MORE)
    (scratch / "rootfs" / "link").symlink_to("/proc/self/fd/5")
    image = import_tree(lamina, scratch)
    (scratch / "shared").mkdir()
    refused = 125 if has_openat2() else None  # without, what the link says is made in the container and mounted on
    done = lamina("run", "--rm", "-v", f"{scratch}/shared:{target}", image, "true", status=refused)
    assert done.status == 0 or (done.stderr.count("\n") == 1 and done.stderr.startswith("lamina: cannot "))


def test_cve_2025_31133_a_mask_is_the_machines_own_null(lamina: Lamina, scratch: Path) -> None:
    make_rootfs(scratch / "rootfs", MORE)
    (scratch / "rootfs" / "dev" / "null").symlink_to("/proc/sys/kernel/core_pattern")
    (scratch / "rootfs" / "dev" / "console").symlink_to("/proc/sysrq-trigger")
    image = import_tree(lamina, scratch)
    look = "ls -l /dev/null | cut -c1; cat /proc/keys; echo x >/dev/null; echo 0 >/proc/sys/kernel/core_pattern"
    done = lamina("run", "--rm", image, "sh", "-c", look.replace("| cut -c1", ""), status=None)
    assert done.stdout.startswith("c") and done.stdout.count("\n") == 1 and "core_pattern" in done.stderr


@pytest.mark.requires("mounts")
def test_device_nodes_of_a_layer_are_dead(lamina: Lamina, scratch: Path) -> None:
    make_rootfs(scratch / "rootfs", MORE)
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.add(scratch / "rootfs", "")
        for name, kind, numbers in (("disk", tarfile.BLKTYPE, (7, 0)), ("memory", tarfile.CHRTYPE, (1, 5))):
            member = tarfile.TarInfo(name)
            member.type, member.mode, (member.devmajor, member.devminor) = kind, 0o666, numbers
            tar.addfile(member)
    (scratch / "evil.tar").write_bytes(archive.getvalue())
    lamina("import", scratch / "evil.tar", "evil:1")
    done = lamina("run", "--rm", "evil:1", "sh", "-c", "head -c 1 /disk; head -c 1 /memory; echo end")
    assert done.stdout == "end\n", "nothing was read"
    if probes.who() == "root":  # in a user namespace they are unpacked as empty files
        assert done.stderr.count("denied") + done.stderr.count("No such") == 2


def test_cve_2016_3697_a_number_is_never_a_name(lamina: Lamina, scratch: Path) -> None:
    make_rootfs(scratch / "rootfs", MORE)
    (scratch / "rootfs/etc/passwd").write_text(
        "root:x:0:0::/root:/bin/sh\n1:x:0:0::/root:/bin/sh\nx:x:1:7::/:/bin/sh\n"
    )
    (scratch / "rootfs/etc/group").write_text("root:x:0:\n7:x:0:\n")
    image = import_tree(lamina, scratch)
    done = lamina("run", "--rm", "-u", "1", image, "sh", "-c", "id -u; id -g", status=None)
    if probes.who() == "plain" or (probes.who() == "mapped" and done.status):
        assert done.status == 125 and "that id does not exist" in done.stderr
    else:
        assert done.lines() == ["1", "7"]


@pytest.mark.parametrize("name", ["passwd", "group"])
def test_users_of_an_image_may_say_anything(lamina: Lamina, scratch: Path, name: str) -> None:
    make_rootfs(scratch / "rootfs", MORE)
    path = scratch / "rootfs/etc" / name
    path.unlink()
    os.mkfifo(path)  # nobody writes to it: to wait for that would be for ever
    image = import_tree(lamina, scratch)
    assert lamina("run", "--rm", image, "id", "-u", seconds=30).stdout == "0\n"
    path.unlink()
    path.symlink_to("/proc/self/fd/0")
    assert lamina("run", "--rm", import_tree(lamina, scratch), "id", "-u", seconds=30).stdout == "0\n"


_PUSH = """
import errno, fcntl, os, struct, termios
for name, call in (("TIOCSTI", lambda: fcntl.ioctl(0, termios.TIOCSTI, b"x")),
                   ("TIOCLINUX", lambda: fcntl.ioctl(0, 0x541C, struct.pack("B5H", 2, 1, 1, 1, 1, 0))),
                   ("tcgetsid", lambda: os.close(os.open("/dev/tty", os.O_RDWR)))):
    try:
        call()
        print(name, "done")
    except OSError as error:
        print(name, errno.errorcode[error.errno])
"""


def test_cve_2017_5226_and_2023_1523_nothing_is_typed_for_the_caller(lamina: Lamina, scratch: Path) -> None:
    """The command keeps the caller's terminal as its standard input, and is no member of its session."""
    (scratch / "push.py").write_text(_PUSH)
    master, slave = pty.openpty()
    words = ["run", "--rm", "-i", "-v", f"{scratch}/push.py:/tmp/push.py", "host", "/usr/bin/python3", "/tmp/push.py"]
    try:
        done = subprocess.run(
            ["setsid", "--ctty", "--wait", *program(), *words], stdin=slave, capture_output=True, text=True,
            env=lamina.environment(), cwd=scratch, check=True, timeout=60,
        )  # fmt: skip
        said = dict(line.split() for line in done.stdout.splitlines())
        assert said.keys() == {"TIOCSTI", "TIOCLINUX", "tcgetsid"} and "done" not in said.values(), said
        os.set_blocking(slave, False)
        with pytest.raises(BlockingIOError):
            os.read(slave, 1)
    finally:
        os.close(master)
        os.close(slave)


def test_a_set_id_program_of_a_volume(lamina: Lamina, scratch: Path) -> None:
    image = make_image(lamina, scratch)
    (scratch / "shared").mkdir(mode=0o777)
    (scratch / "shared").chmod(0o777)
    lamina("run", "--rm", "-v", f"{scratch}/shared:/shared", image, "sh", "-c",
           "cat /bin/id >/shared/id; chmod 4755 /shared/id")  # fmt: skip
    status = (scratch / "shared" / "id").stat()
    if probes.who() in ("subuid", "plain"):
        assert status.st_uid == os.getuid() != 0, "it makes whoever runs it this very user"
    if probes.who() == "root":
        words = ("run", "--rm", "-u", "65534", "-v", f"{scratch}/shared:/shared")
        assert lamina(*words, image, "/shared/id", "-u").stdout == "0\n", "as with docker"
        quiet = ("--security-opt", "no-new-privileges")
        assert lamina(*words, *quiet, image, "/shared/id", "-u").stdout == "65534\n"


def test_cve_2022_0492_no_cgroup_is_to_be_had(lamina: Lamina, scratch: Path) -> None:
    code = (
        "mkdir -p /tmp/c; for kind in cgroup cgroup2; do mount -t $kind none /tmp/c 2>/dev/null && echo mounted; done;"
        "unshare -UrC true 2>/dev/null && echo unshared; unshare -C true 2>/dev/null && echo unshared;"
        "for f in /sys/fs/cgroup/*/release_agent; do (echo /x >$f) 2>/dev/null && echo written; done; echo end"
    )
    assert lamina("run", "--rm", "host", "sh", "-c", code).stdout == "end\n"


def test_cve_2024_23651_and_23653_mounts_of_a_build_stay_in_its_trees(lamina: Lamina, scratch: Path) -> None:
    make_rootfs(scratch / "rootfs", MORE)
    (scratch / "rootfs" / "out").symlink_to("/")
    image = import_tree(lamina, scratch)
    (scratch / "context").mkdir()
    (scratch / "outside").mkdir()
    (scratch / "outside" / "kept").touch()
    mount = f"--mount=type=bind,from={image},source=/out{scratch}/outside,target=/m"
    (scratch / "context" / "Dockerfile").write_text(f"FROM {image}\nRUN {mount} ls /m")
    done = lamina("build", "context", status=125)
    assert not any(line.endswith("kept") for line in done.stderr.splitlines())
    (scratch / "context" / "Dockerfile").write_text(f"FROM {image}\nRUN {mount.replace(str(scratch), '')} ls /m")
    assert "outside" in lamina("build", "context", status=125).stderr  # the image has no such directory
    mount = f"--mount=type=bind,from={image},source=/out/bin,target=/m"
    (scratch / "context" / "Dockerfile").write_text(f"FROM {image}\nRUN {mount} ls /m/sh")
    assert "/m/sh" in lamina("build", "context").stderr


def test_cve_2024_23652_nothing_outside_is_removed_after_a_step(lamina: Lamina, scratch: Path) -> None:
    make_rootfs(scratch / "rootfs", MORE)
    (scratch / "rootfs" / "link").symlink_to(scratch / "outside")
    image = import_tree(lamina, scratch)
    (scratch / "context").mkdir()
    (scratch / "outside" / "below").mkdir(parents=True)
    text = (
        f"FROM {image}\n"
        "RUN --mount=type=tmpfs,target=/place/below true\n"
        "RUN --mount=type=cache,target=/other/below touch /other/below/x\n"
        "RUN --mount=type=tmpfs,target=/link/below ls /link/below\n"
    )
    (scratch / "context" / "Dockerfile").write_text(text)
    lamina("build", "-t", "made:1", "context")
    assert os.listdir(scratch / "outside") == ["below"]
    names = lamina("run", "--rm", "made:1", "ls", "/").lines()
    assert "link" in names and not {"place", "other"} & set(names), "what was made to be mounted on is gone"
