"""A mount over FUSE stays in its layers, lets in whom it should, and is taken away when its server was killed."""

from __future__ import annotations

import errno
import os
import signal
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.command import Lamina, Users, run
from tests.helpers.servers import servers
from tests.helpers.wait import until

pytestmark = pytest.mark.requires("mounts", "fuse")

SPACE = "trusted.overlay"


@pytest.fixture
def place(scratch: Path) -> Path:
    for name in ("base/dir", "top", "upper", "work", "merged", "outside/dir"):
        (scratch / name).mkdir(parents=True)
    (scratch / "base/dir/file").write_text("inside")
    (scratch / "base/public").write_text("public")
    (scratch / "outside/secret").write_text("secret")
    (scratch / "outside/dir/secret").write_text("secret")
    return scratch


@pytest.fixture
def mounted(lamina: Lamina, place: Path) -> Iterator[Path]:
    """Return the mount of top over base with an upper; what a test puts into top before is in it."""
    words = ["--layer", "base", "--layer", "top", "--upper", "upper", "--work", "work", "merged"]
    lamina("mount", "--driver", "fuse", *words, cwd=place)
    yield place / "merged"
    if os.path.ismount(place / "merged"):
        run(["umount", str(place / "merged")])
    until(lambda: not servers(place), "the server ends with its mount")


def mount_hostile(lamina: Lamina, place: Path, look: str) -> str:
    """Mount top over base, run `look` in it, and return all that it said."""
    words = ["--driver", "fuse", "--layer", "base", "--layer", "top", "--upper", "upper", "--work", "work", "merged"]
    done = lamina("mount", *words, "--", "sh", "-c", f"cd merged && {look}", cwd=place, status=None)
    return done.stdout + done.stderr


@pytest.mark.requires("root")
@pytest.mark.parametrize(
    "redirect",
    ["..", "../..", "../../outside", "/..", "/../outside", "/dir/../../outside", "//outside", "a/b", "", "/", ".",
     "/./dir", "x" * 5000 + "/../.."],
)  # fmt: skip
def test_a_redirect_leads_nowhere_else(lamina: Lamina, place: Path, redirect: str) -> None:
    (place / "top/dir").mkdir()
    (place / "top/stub").write_text("")
    try:
        os.setxattr(place / "top/dir", f"{SPACE}.redirect", redirect.encode())
        os.setxattr(place / "top/stub", f"{SPACE}.redirect", redirect.encode())
    except OSError as error:
        assert error.errno == errno.ENOSPC, "too long for the file system, then"
        return
    os.setxattr(place / "top/stub", f"{SPACE}.metacopy", b"")
    said = mount_hostile(
        lamina, place, "ls -R .; cat dir/secret stub dir/../outside/secret; ls dir/..; echo x >dir/new"
    )
    assert "\nsecret\n" not in said and not said.startswith("secret")
    assert sorted(os.listdir(place / "outside")) == ["dir", "secret"]


def test_links_of_a_layer_are_never_followed_by_the_server(lamina: Lamina, place: Path) -> None:
    (place / "top/dir").symlink_to(place / "outside")
    (place / "top/link").symlink_to(place / "outside/secret")
    before = [(path.name, path.lstat().st_mode, path.lstat().st_mtime_ns) for path in (place / "outside").iterdir()]
    code = (
        "import os\n"
        "os.chown('link', 0, 0, follow_symlinks=False)\n"
        "os.utime('link', ns=(1, 1), follow_symlinks=False)\n"
        "os.rename('dir', 'moved')\n"
        "os.link('link', 'again', follow_symlinks=False)\n"
        "os.unlink('link')\n"
        "for name in ('moved', 'again'):\n"
        "    print(os.path.islink(name), os.listxattr(name, follow_symlinks=False))\n"
    )
    said = mount_hostile(lamina, place, f'"{sys.executable}" -c "{code}"')
    assert said.splitlines() == ["True []", "True []"]
    after = [(path.name, path.lstat().st_mode, path.lstat().st_mtime_ns) for path in (place / "outside").iterdir()]
    assert sorted(after) == sorted(before)
    assert not (place / "outside/new").exists()


@pytest.mark.parametrize("name", ["user.overlay.opaque", "user.overlay.redirect", "user.overlay.origin",
    "user.overlay.metacopy", "user.overlay.whiteout", "user.overlay.nlink", "user.lamina.owner",
    "user.fuseoverlayfs.opaque"])  # fmt: skip
@pytest.mark.parametrize("value", [b"", b"\0", b"z" * 300, b"\xff/../..", b"y"])
def test_an_odd_mark_is_no_harm(lamina: Lamina, place: Path, name: str, value: bytes) -> None:
    for path in ("dir", "file"):
        (place / "top" / path).mkdir() if path == "dir" else (place / "top" / path).write_text("top")
        os.setxattr(place / "top" / path, name, value)
    said = mount_hostile(lamina, place, "ls -a . dir; cat file; cat public; rm -rf dir file; ls -a")
    assert "public" in said and "secret" not in said
    assert "Transport endpoint" not in said and "Input/output" not in said


def test_permissions_are_checked_by_the_kernel(lamina: Lamina, mounted: Path) -> None:
    (line,) = [line for line in Path("/proc/self/mounts").read_text().splitlines() if f" {mounted} " in line]
    assert "default_permissions" in line and "allow_other" in line
    (mounted / "closed").write_text("closed")
    (mounted / "closed").chmod(0o600)


@pytest.mark.requires("root", "setpriv")
def test_what_is_closed_to_a_user_is_closed_in_the_mount(mounted: Path, ordinary_users: Users) -> None:
    (mounted / "closed").write_text("closed")
    (mounted / "closed").chmod(0o600)
    (mounted / "set").write_text("")
    for path in (mounted.parent, mounted):
        path.chmod(0o755)
    name = ordinary_users.names[0]
    assert ordinary_users.run(name, ["cat", str(mounted / "public")]).stdout == "public"
    for argv in (
        ["cat", str(mounted / "closed")],
        ["touch", str(mounted / "new")],
        ["rm", "-f", str(mounted / "public")],
    ):
        assert "Permission denied" in ordinary_users.run(name, argv, status=1).stderr
    assert ordinary_users.run(name, ["chmod", "4755", str(mounted / "set")], status=1).stderr.endswith(
        "not permitted\n"
    )


def test_a_mount_whose_server_was_killed_is_taken_away(lamina: Lamina, place: Path, mounted: Path) -> None:
    (mounted / "written").write_text("written")
    (server,) = servers(place)
    os.kill(server, signal.SIGKILL)

    def is_cut() -> bool:
        try:
            os.stat(mounted / "public")
        except OSError as error:
            return error.errno == errno.ENOTCONN
        return False

    until(is_cut, "the mount answers ENOTCONN")
    assert (place / "upper/written").read_text() == "written"
    lamina("umount", "merged", cwd=place)
    assert not os.path.ismount(mounted) and os.listdir(mounted) == []
    assert stat.S_ISDIR(os.stat(mounted).st_mode)


def test_a_command_outlives_its_server(lamina: Lamina, place: Path) -> None:
    code = (
        "import errno, os, pathlib, signal\n"
        "for name in filter(str.isdecimal, os.listdir('/proc')):\n"
        "    try:\n"
        "        line = pathlib.Path('/proc', name, 'cmdline').read_bytes()\n"
        "        parent = pathlib.Path('/proc', name, 'stat').read_text().rpartition(')')[2].split()[1]\n"
        "    except OSError:\n"
        "        continue\n"
        "    if b'lamina.overlay.fuse' in line and int(parent) == os.getppid() and int(name) != os.getpid():\n"
        "        os.kill(int(name), signal.SIGKILL)\n"
        "for _ in range(1000000):\n"
        "    try:\n"
        "        os.stat('merged/public')\n"
        "    except OSError as error:\n"
        "        if error.errno != errno.ECONNABORTED:\n"  # that request was on its way
        "            print(errno.errorcode[error.errno])\n"
        "            break\n"
    )
    words = ["--driver", "fuse", "--layer", "base", "--layer", "top", "merged"]
    done = lamina("mount", *words, "--", sys.executable, "-c", code, cwd=place)
    assert done.stdout == "ENOTCONN\n"
    assert not os.path.ismount(place / "merged") and os.listdir(place / "merged") == []


def test_a_layer_may_have_the_mount_in_it(lamina: Lamina, place: Path) -> None:
    # Looking below the mount in the mount, the server asks itself.
    (place / "base/mounted").mkdir()
    words = ["--layer", "base", "--upper", "upper", "--work", "work", "base/mounted"]
    lamina("mount", "--driver", "fuse", *words, cwd=place)
    try:
        looked = run(["sh", "-c", "ls base/mounted/mounted/dir; echo new >base/mounted/mounted/dir/made"], cwd=place)
        assert looked.stdout == "file\n"
        assert (place / "upper/mounted/dir/made").read_text() == "new\n"
    finally:
        run(["umount", "--lazy", str(place / "base/mounted")])
        until(lambda: not servers(place), "the server ends with its mount")
