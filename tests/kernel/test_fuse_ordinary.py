"""Our mount for ordinary users: through fusermount3, and as root of a user namespace of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lamina.errors import LaminaError
from lamina.linux.fuse import fusermount_unmount
from lamina.overlay.fuse.start import start
from lamina.overlay.stack import Overlay
from lamina.overlay.union.union import Union

pytestmark = pytest.mark.requires("user", "fuse")

_WORK = """
import os, stat, sys
os.chdir(sys.argv[1])
os.rename("dir", "moved")
assert sorted(os.listdir("moved")) == ["inside"]
os.mkdir("dir")
assert os.listdir("dir") == []
os.unlink("file")
with open("file", "w") as made:
    made.write("new")
fd = os.open("object", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o444)  # as git makes its objects
os.write(fd, b"x" * 5000)
os.close(fd)
with open("object", "rb") as made:
    assert made.read() == b"x" * 5000
assert stat.S_IMODE(os.stat("object").st_mode) == 0o444
try:
    open("object", "wb")
    assert os.geteuid() == 0
except PermissionError:
    assert os.geteuid() != 0
os.setxattr("file", "user.x", b"1")
assert os.listxattr("moved") == []
os.rename("twin", "moved/twin")
with open("twin2", "w") as other:
    other.write("both")
with open("moved/twin") as other:
    assert other.read() == "both"
print("done", os.stat("file").st_uid == os.geteuid())
"""


def _prepare(top: Path) -> Overlay:
    for name in ("lower/dir", "upper", "work", "merged"):
        (top / name).mkdir(parents=True)
    (top / "lower/dir/inside").write_text("inside")
    (top / "lower/file").write_text("old")
    (top / "lower/twin").write_text("twin")
    os.link(top / "lower/twin", top / "lower/twin2")
    return Overlay([str(top / "lower")], upper=str(top / "upper"), work=str(top / "work"))


def _check(top: Path) -> None:
    assert (top / "lower/file").read_text() == "old"
    assert (top / "upper/file").read_text() == "new"
    assert os.getxattr(top / "upper/moved", "user.overlay.redirect") == b"/dir"
    assert os.getxattr(top / "upper/dir", "user.overlay.opaque") == b"y"


@pytest.mark.requires("fusermount3")
def test_through_fusermount(scratch: Path) -> None:
    server = start(_prepare(scratch), str(scratch / "merged"))
    try:
        done = subprocess.run(
            [sys.executable, "-c", _WORK, str(scratch / "merged")], capture_output=True, text=True, check=False
        )
    finally:
        fusermount_unmount(str(scratch / "merged"))
        assert server.wait_end() == 0
    assert (done.stdout, done.stderr) == ("done True\n", "")
    _check(scratch)


_IN_NAMESPACE = """
import json, subprocess, sys
from lamina.linux.mount import umount2
from lamina.overlay.fuse.start import start
from lamina.overlay.stack import Overlay
from lamina.overlay.union.union import Union
overlay, target, work = Overlay(**json.loads(sys.argv[1])), sys.argv[2], sys.argv[3]
server = start(overlay, target, allow_other=True)
status = subprocess.run([sys.executable, "-c", work, target]).returncode
umount2(target, 0)
sys.exit(server.wait_end() or status)
"""


@pytest.mark.requires("userns", "unshare")
def test_in_a_user_namespace(scratch: Path) -> None:
    plain = json.dumps(_prepare(scratch).plain())
    words = ["unshare", "--user", "--map-root-user", "--mount", "--propagation", "private", sys.executable, "-c"]
    done = subprocess.run(
        [*words, _IN_NAMESPACE, plain, str(scratch / "merged"), _WORK],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert (done.stdout, done.stderr) == ("done True\n", "")
    _check(scratch)


def _prepare_closed(folder: Path) -> None:
    for name in ("closed", "hollow", "other"):
        (folder / name).mkdir(parents=True)
    (folder / "closed/file").write_text("old")
    (folder / "read-only").write_text("old")
    os.setxattr(folder / "read-only", "user.kept", b"value")
    os.link(folder / "read-only", folder / "twin")
    for name, mode in {"read-only": 0o444, "closed": 0o555, "hollow": 0o555}.items():
        (folder / name).chmod(mode)


_CALLS = """
import errno, os, stat, sys
def told(name, *arguments):
    try:
        return getattr(os, name)(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno]
os.chdir(sys.argv[1])
numbers = [os.stat(name).st_ino for name in ("read-only", "closed")]
print(told("chmod", "read-only", 0o400), told("getxattr", "twin", "user.kept"), os.stat("twin").st_nlink)
with open("closed/file", "a") as file:
    file.write(" and new")
print(open("closed/file").read(), oct(os.stat("closed").st_mode))
print(told("unlink", "closed/file"), told("mkdir", "closed/made"), told("rename", "closed", "other/moved"))
print(told("rename", "closed", "moved"), told("listdir", "moved"), told("chmod", "moved", 0o500))
print(told("rmdir", "hollow"), told("mkdir", "hollow", 0o500), told("listdir", "hollow"))
print(told("unlink", "twin"), os.stat("read-only").st_nlink, told("rename", "read-only", "other/read-only"))
print(numbers == [os.stat(name).st_ino for name in ("other/read-only", "moved")])
for name in ("moved", "hollow"):
    os.chmod(name, 0o755)
"""


@pytest.mark.requires("fusermount3")
def test_closed_modes_refuse_what_they_refuse_anywhere(scratch: Path) -> None:
    for name in ("plain", "lower", "upper", "work", "merged"):
        (scratch / name).mkdir()
    for name in ("plain", "lower"):
        _prepare_closed(scratch / name)
    said = []
    overlay = Overlay([str(scratch / "lower")], upper=str(scratch / "upper"), work=str(scratch / "work"))
    server = start(overlay, str(scratch / "merged"))
    try:
        for name in ("plain", "merged"):
            argv = [sys.executable, "-c", _CALLS, str(scratch / name)]
            said.append(subprocess.run(argv, capture_output=True, text=True, check=False))
    finally:
        fusermount_unmount(str(scratch / "merged"))
        assert server.wait_end() == 0
        for name in ("closed", "hollow"):
            (scratch / "lower" / name).chmod(0o755)
    plain, ours = ((done.stdout, done.stderr) for done in said)
    assert ours == plain
    assert plain[1] == "" and plain[0].endswith("True\n")


def test_closed_modes_in_the_process(scratch: Path) -> None:
    for name in ("lower", "upper", "work"):
        (scratch / name).mkdir()
    _prepare_closed(scratch / "lower")
    with Union([scratch / "lower"], upper=scratch / "upper", work=scratch / "work", sync=False) as union:
        number = union.stat("twin").st_ino
        union.chmod("read-only", 0o400)
        assert union.getxattr("twin", "user.kept") == b"value"
        union.write_text("closed/file", "new")
        with pytest.raises(PermissionError):
            union.unlink("closed/file")
        union.rename("closed", "moved")
        union.rmdir("hollow")
        union.mkdir("hollow", 0o500)
    with Union([scratch / "lower"], upper=scratch / "upper", work=scratch / "work", sync=False) as union:
        assert union.stat("twin").st_ino == number and union.stat("twin").st_mode & 0o777 == 0o400
        assert union.read_text("moved/file") == "new" and union.listdir("hollow") == []
        assert union.stat("moved").st_mode & 0o777 == 0o555
        union.chmod("moved", 0o755)
    (scratch / "lower/closed").chmod(0o755)


def test_a_directory_that_was_closed_is_read_in_the_process(scratch: Path) -> None:
    """Names that were looked up are known: the search permission above them is not asked for again (docs/limits.md)."""
    (scratch / "lower/dir/inner").mkdir(parents=True)
    (scratch / "lower/dir/inner/file").write_text("text")
    for name in ("upper", "work"):
        (scratch / name).mkdir()
    with Union([scratch / "lower"], upper=scratch / "upper", work=scratch / "work", sync=False) as union:
        assert union.listdir("dir/inner") == ["file"]
        union.chmod("dir", 0)
        assert union.read_text("dir/inner/file") == "text"  # it lies in the layer, which is as open as ever
        for name in ("dir/inner/file", "dir/new"):
            with pytest.raises(PermissionError):
                union.write_text(name, "new")
        union.chmod("dir", 0o755)


def test_passthrough_is_for_the_machines_root(scratch: Path) -> None:
    for name in ("layer", "merged"):
        (scratch / name).mkdir()
    with pytest.raises(LaminaError, match="passthrough: the kernel lets the machine's root alone"):
        start(Overlay([str(scratch / "layer")], options=(("passthrough", ""),)), str(scratch / "merged"))
