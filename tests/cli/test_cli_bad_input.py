"""Directories that cannot be mounted: each way to mount them says why in one line, and mounts nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import lamina as package
from lamina.errors import LaminaError
from lamina.overlay.in_use import lock
from tests.helpers.command import Lamina, program, run
from tests.helpers.probes import who

pytestmark = pytest.mark.requires("overlay", "fuse")

_CALL = "import sys; from lamina.cli.overlayfs import {0}; sys.exit({0}())"
_PROGRAM = [sys.executable, "-c", _CALL.format("main")]
_HELPER = [sys.executable, "-c", _CALL.format("mount_helper")]

#: Lower, upper and work directory, and what the line says.
Case = tuple[str, str, str, str]


@pytest.fixture
def place(scratch: Path) -> Iterator[Path]:
    for name in ("lower", "upper/inner", "work/inner", "merged", "closed"):
        (scratch / name).mkdir(parents=True)
    (scratch / "lower/file").write_text("")
    yield scratch
    (scratch / "closed").chmod(0o700)


def missing_lower(_: Path) -> Case:
    return "lower:absent", "upper", "work", "absent: no such directory"


def no_archive(_: Path) -> Case:
    return "lower/file", "upper", "work", "lower/file: "


def missing_upper(_: Path) -> Case:
    return "lower", "absent", "work", "absent: no such directory"


def work_elsewhere(place: Path) -> Case:
    return "lower", "upper", "/dev/shm", f"/dev/shm: it is not on the file system of {place}/upper"


def work_in_the_upper(place: Path) -> Case:
    return "lower", "upper", "upper/inner", f"upper/inner: it lies in the upper directory {place}/upper"


def upper_in_the_work(place: Path) -> Case:
    return "lower", "work/inner", "work", f"work/inner: it lies in the work directory {place}/work"


def one_for_both(_: Path) -> Case:
    return "lower", "upper", "upper", "upper: it is the upper directory"


def upper_is_a_layer(place: Path) -> Case:
    (place / "link").symlink_to("lower")
    return "link", "lower", "work", "lower: it is a lower directory as well"


def layer_in_the_upper(place: Path) -> Case:
    return "upper/inner", "upper", "work", f"upper/inner: it lies in the upper directory {place}/upper"


def strange_mark(place: Path) -> Case:
    for space in ("user", "trusted") if who() == "root" else ("user",):
        os.setxattr(place / "upper/inner", f"{space}.overlay.opaque", b"maybe")
    return "lower", "upper", "work", "overlay.opaque=maybe, which no version of overlayfs writes there"


def strange_mark_of_a_file(place: Path) -> Case:
    (place / "upper/inner/file").touch()
    for space in ("user", "trusted") if who() == "root" else ("user",):
        os.setxattr(place / "upper/inner/file", f"{space}.overlay.tomorrow", b"1")
    return "lower", "upper", "work", "overlay.tomorrow=1, which no version of overlayfs writes there"


def forbidden_by_a_feature(place: Path) -> Case:
    (place / "work/work/incompat/tomorrow").mkdir(parents=True)
    return "lower", "upper", "work", "it has the mark 'tomorrow', which forbids to mount this upper"


CASES: list[Callable[[Path], Case]] = [
    missing_lower, no_archive, missing_upper, work_elsewhere, work_in_the_upper, upper_in_the_work, one_for_both,
    upper_is_a_layer, layer_in_the_upper, strange_mark, strange_mark_of_a_file, forbidden_by_a_feature,
]  # fmt: skip


def refusals(lamina: Lamina, place: Path, lower: str, upper: str, work: str) -> Iterator[str]:
    """Yield the line that each way to mount says, and check that it is one, and that nothing was mounted."""
    text = f"lowerdir={lower},upperdir={upper},workdir={work}"
    mounts = Path("/proc/self/mounts")
    for driver in ("kernel", "fuse", "auto"):
        done = lamina("mount", "--driver", driver, "-o", text, "merged", "--", "echo", "mounted", status=125, cwd=place)
        assert done.stdout == ""
        yield done.stderr
    yield lamina("mount", "--driver", "fuse", "-o", text, "merged", status=125, cwd=place).stderr
    yield run([*_PROGRAM, "-o", text, "merged"], cwd=place, status=1).stderr
    yield run([*_HELPER, "lamina", "merged", "-o", text], cwd=place, status=1).stderr
    assert f" {place}/merged " not in mounts.read_text()
    before = os.getcwd()
    os.chdir(place)
    try:
        layers = lower.split(":")[::-1]
        try:
            package.Union(layers, upper=upper, work=work).close()
        except (LaminaError, OSError) as error:
            said = str(error).replace(repr("absent"), "absent: no such directory")
        else:
            said = "no error"
        yield f"Union: {said}\n"
    finally:
        os.chdir(before)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_what_cannot_be_is_one_line_everywhere(lamina: Lamina, place: Path, case: Callable[[Path], Case]) -> None:
    lower, upper, work, said = case(place)
    before = {path: path.lstat().st_mode for path in place.rglob("*")}
    for number, stderr in enumerate(refusals(lamina, place, lower, upper, work)):
        line, *hint = stderr.splitlines()
        if case is no_archive and number == 0:  # to the kernel no file is a layer
            said_here = "lower/file: a layer of its has to be a directory"
        else:
            said_here = said if number < 6 else said.replace(f"{place}/", "")
        assert said_here in line
        assert all(more.startswith("hint: ") for more in hint) and len(hint) <= 1
    made = {path for path in place.rglob("*") if path not in before}
    assert all(path.relative_to(place).as_posix() in ("work/work", "work/index") for path in made)


@pytest.mark.requires("user")
def test_a_layer_that_is_closed_to_a_user(lamina: Lamina, place: Path) -> None:
    (place / "closed").chmod(0)
    text = "lowerdir=closed"
    for done in (
        lamina("mount", "--driver", "fuse", "-o", text, "merged", status=125, cwd=place),
        run([*_PROGRAM, "-o", text, "merged"], cwd=place, status=1),
        lamina(
            "mount", "--driver", "kernel", "-o", "lowerdir=/root:lower", "merged", "--", "ls", status=125, cwd=place
        ),
        lamina("mount", "--driver", "fuse", "-o", "lowerdir=/root:lower", "merged", "--", "ls", status=125, cwd=place),
    ):
        (line,) = done.stderr.splitlines()
        assert line.endswith(": Permission denied") and ("closed" in line or "/root" in line)
    with pytest.raises(PermissionError, match="closed"):
        package.Union([place / "closed"])


@contextmanager
def mounted(lamina: Lamina, place: Path, driver: str) -> Iterator[None]:
    words = ("--layer", "lower", "--upper", "upper", "--work", "work", "merged")
    lamina("mount", "--driver", driver, *words, cwd=place)
    try:
        yield
    finally:
        lamina("umount", "merged", cwd=place)


def test_an_upper_that_a_union_has(lamina: Lamina, place: Path) -> None:
    words = ("mount", "--layer", "lower", "--upper", "upper", "--work", "work", "merged", "--", "echo", "mounted")
    with package.Union([place / "lower"], upper=place / "upper", work=place / "work"):
        for driver in ("kernel", "fuse"):
            done = lamina(words[0], "--driver", driver, *words[1:], status=125, cwd=place)
            assert (done.stdout, done.stderr.splitlines()[0]) == (
                "",
                f"lamina: cannot write to the upper {place}/upper: it is in use",
            )
        expect_no_wait(place / "upper")


def expect_no_wait(upper: Path) -> None:
    """See that an upper is refused at once, though an ending server would have a minute."""
    begin = time.monotonic()
    with pytest.raises(LaminaError, match="it is in use"):
        lock(str(upper), patience=60.0)
    assert time.monotonic() - begin < 30


@pytest.mark.requires("mounts")
@pytest.mark.parametrize("driver", ["kernel", "fuse"])
def test_an_upper_that_a_mount_has(lamina: Lamina, place: Path, driver: str) -> None:
    (place / "other").mkdir()
    said = f"{place}/upper: " + ("it is in use" if driver == "fuse" else f"it is mounted on {place}/merged")
    text = f"lowerdir={place}/lower,upperdir={place}/upper,workdir={place}/work"
    with mounted(lamina, place, driver):
        for command in (("--driver", "kernel", "other"), ("--driver", "auto", "other", "--", "echo", "mounted")):
            done = lamina("mount", "-o", text, *command, status=125, cwd=place)
            assert said in done.stderr.splitlines()[0] and done.stdout == ""
        assert said in run([*_PROGRAM, "-o", text, "other"], cwd=place, status=1).stderr
        with pytest.raises(LaminaError, match=said):
            package.Union([place / "lower"], upper=place / "upper", work=place / "work")
        if driver == "fuse":
            expect_no_wait(place / "upper")
        assert f" {place}/other " not in Path("/proc/self/mounts").read_text()


@pytest.mark.requires("mounts")
def test_a_server_that_is_ending_is_waited_for(lamina: Lamina, place: Path) -> None:
    """umount(8) does not wait for it, and the upper is to be had again all the same."""
    words = ("mount", "--driver", "fuse", "--layer", "lower", "--upper", "upper", "--work", "work", "merged")
    for _ in range(5):
        lamina(*words, cwd=place)
        run(["umount", str(place / "merged")])
    with mounted(lamina, place, "fuse"):
        assert (place / "merged/file").exists()


# A mount of mount(8)'s, by names that nobody else can follow, there until its standard input ends.
_RELATIVE = """
mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work$1 merged && echo mounted && read end
"""


@contextmanager
def mounted_by_relative_names(place: Path) -> Iterator[None]:
    flags = [] if who() in ("root", "mapped") else ["--user", "--map-root-user"]
    options = "" if who() == "root" else ",userxattr"
    words = ["unshare", *flags, "--mount", "--propagation", "private", "sh", "-c", _RELATIVE, "sh", options]
    with subprocess.Popen(words, cwd=place, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        with process.stdin:
            assert process.stdout.readline() == b"mounted\n"
            yield


@pytest.mark.requires("unshare")
@pytest.mark.parametrize(("upper", "work"), [("upper", "free"), ("free", "work")])
def test_an_upper_of_a_mount_by_relative_names(lamina: Lamina, place: Path, upper: str, work: str) -> None:
    for name in ("other", "free", "unused"):
        (place / name).mkdir()
    words = ("--layer", "lower", "--upper", upper, "--work", work, "other", "--", "echo", "mounted")
    held = upper if upper != "free" else work
    said = f"lamina: cannot use {place}/{held}: it is the upper or work directory of a mount of the kernel's"
    with mounted_by_relative_names(place):
        before = os.listdir(place / "free"), os.listxattr(place / "upper")
        for driver in ("kernel", "fuse"):
            done = lamina("mount", "--driver", driver, *words, status=125, cwd=place)
            assert (done.stdout, done.stderr.splitlines()[0]) == ("", said)
        assert (os.listdir(place / "free"), os.listxattr(place / "upper")) == before
        if who() in ("root", "mapped"):  # who could mount, may ask
            with pytest.raises(LaminaError, match="it is the upper or work directory of a mount"):
                package.Union([place / "lower"], upper=place / upper, work=place / work)
            check = ("upper", "check", *words[:6])
            assert lamina(*check, status=125, cwd=place).stderr.splitlines()[0] == said
        free = ("mount", "--layer", "lower", "--upper", "free", "--work", "unused", *words[6:])
        assert lamina(*free, cwd=place).stdout == "mounted\n"
    assert lamina("mount", *words, cwd=place).stdout == "mounted\n"


_WITHOUT_FUSE = """
for name in null zero full random urandom tty; do : >dev/$name; mount --bind /dev/$name dev/$name; done
mount --rbind dev /dev && exec "$@"
"""


@pytest.mark.requires("unshare")
@pytest.mark.parametrize(
    "way", ["command", "stay", "trace", pytest.param("run", marks=pytest.mark.requires("root")), "program", "helper"]
)
def test_without_fuse(lamina: Lamina, place: Path, way: str) -> None:
    text = "lowerdir=lower,upperdir=upper,workdir=work"
    mount = [*program(), "mount", "-o", text, "merged"]
    command = {
        "command": [*mount, "--driver", "fuse", "--", "echo", "mounted"],
        "stay": [*mount, "--driver", "fuse"],
        "trace": [*mount, "--trace", "log", "--", "echo", "mounted"],
        "run": [*program(), "run", "--rm", "--driver", "fuse", "host", "echo", "mounted"],
        "program": [*_PROGRAM, "-o", text, "merged"],
        "helper": [*_HELPER, "lamina", "merged", "-o", text],
    }[way]
    (place / "dev").mkdir()
    words = ["unshare", *([] if os.geteuid() == 0 else ["--user", "--map-root-user"]), "--mount"]
    whole = [*words, "--propagation", "private", "sh", "-c", _WITHOUT_FUSE, "sh", *command]
    done = subprocess.run(whole, cwd=place, env=lamina.environment(), capture_output=True, text=True, check=False)
    assert (done.returncode in (1, 125), done.stdout) == (True, ""), done.stderr
    line, hint = done.stderr.splitlines()
    assert "cannot open /dev/fuse: No such file or directory" in line and hint.startswith("hint: load the fuse module")
