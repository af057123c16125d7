"""The union in the process: the calls of os over layers, and what only a union knows."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import lamina
from lamina.errors import Conflict
from lamina.overlay.union.change import Change
from lamina.overlay.union.union import Union
from tests.helpers.trees import remove_tree


@pytest.fixture
def top(scratch: Path) -> Path:
    """Return a folder with the layers a and b, and an empty upper and work."""
    for name in ("a/sub/deep", "b/sub", "upper", "work"):
        (scratch / name).mkdir(parents=True)
    (scratch / "a/one").write_text("1")
    (scratch / "a/two").write_text("2")
    (scratch / "b/two").write_text("22")
    (scratch / "a/sub/deep/file").write_text("deep")
    (scratch / "b/sub/beside").write_text("beside")
    (scratch / "a/link").symlink_to("sub/deep/file")
    return scratch


def over(top: Path) -> Union:
    return Union([top / "a", top / "b"], upper=top / "upper", work=top / "work", sync=False)


def fails(code: int, call: Callable[[], object]) -> None:
    with pytest.raises(OSError) as caught:
        call()
    assert caught.value.errno == code, caught.value


def test_layers_are_merged(top: Path) -> None:
    with lamina.Union([top / "a", top / "b"]) as union:
        assert sorted(union.listdir()) == ["link", "one", "sub", "two"]
        assert sorted(union.listdir(b"sub")) == [b"beside", b"deep"]
        assert union.read_text("two") == "22"
        assert union.read_bytes("/sub/deep/file") == b"deep"
        assert union.read_text("link") == "deep"
        assert union.is_dir("sub") and union.is_file("one") and union.is_symlink("link")
        assert not union.exists("absent") and not union.exists("one/below")
        assert [path for path, _, _ in union.walk()] == ["/", "/sub", "/sub/deep"]
        assert union.statvfs().f_namemax == 255


def test_without_an_upper_nothing_changes(top: Path) -> None:
    with Union([top / "a", top / "b"]) as union:
        for call in (
            lambda: union.unlink("one"),
            lambda: union.mkdir("new"),
            lambda: union.write_text("one", "x"),
            lambda: union.chmod("one", 0o600),
            lambda: union.rename("one", "three"),
            lambda: union.setxattr("one", "user.x", b""),
        ):
            fails(errno.EROFS, call)


def test_changes_land_in_the_upper(top: Path) -> None:
    with over(top) as union:
        union.unlink("one")
        union.write_text("new", "x")
        with union.open("two", "a") as file:
            file.write("+")
        union.makedirs("sub/more/below")
        assert union.read_text("two") == "22+"
        assert list(union.changes()) == [
            Change("A", b"new"),
            Change("D", b"one"),
            Change("C", b"sub"),
            Change("A", b"sub/more"),
            Change("A", b"sub/more/below"),
            Change("C", b"two"),
        ]
        assert list(union.whiteouts()) == [b"one"]
    assert (top / "a/one").read_text() == "1"
    assert (top / "b/two").read_text() == "22"
    st = os.lstat(top / "upper/one")
    assert stat.S_ISCHR(st.st_mode) and st.st_rdev == 0
    with over(top) as union:  # and are found there again
        assert not union.exists("one")
        assert union.read_text("two") == "22+"


def test_origin(top: Path) -> None:
    with over(top) as union:
        assert [union.origin(name) for name in ("one", "two", "sub/beside", "sub/deep")] == [0, 1, 1, 0]
        assert union.origins() == {"link": 0, "one": 0, "two": 1, "sub": 1}
        union.copy_up("one")
        assert union.origin("one") == 2
        assert union.origins("sub") == {"beside": 1, "deep": 0}
        assert {entry.name: entry.origin() for entry in union.scandir()}["one"] == 2
    assert (top / "upper/one").read_text() == "1"


def test_copy_up_keeps_what_a_file_is(top: Path) -> None:
    path = top / "a/one"
    with open(path, "wb") as file:
        file.truncate(1 << 20)
        file.seek(600_000)
        file.write(b"in the middle")
    path.chmod(0o6750)
    os.setxattr(path, "user.kept", b"value")
    os.utime(path, ns=(1_000_000_000_123_456_789, 1_100_000_000_987_654_321))
    before, folder = os.lstat(path), os.lstat(top / "a")
    with over(top) as union:
        number = union.stat("one").st_ino
        union.copy_up("one")
        after = union.stat("one")
        assert union.getxattr("one", "user.kept") == b"value"
        assert union.listxattr("one") == ["user.kept"]
        assert after.st_ino == number
    for name in ("st_mode", "st_uid", "st_gid", "st_size", "st_mtime_ns"):
        assert getattr(after, name) == getattr(before, name), name
    assert os.lstat(top / "upper/one").st_blocks <= before.st_blocks + 8  # one more block for its attributes
    assert (top / "upper/one").read_bytes() == path.read_bytes()
    assert os.lstat(top / "a").st_mtime_ns == folder.st_mtime_ns
    with over(top) as union:
        assert union.stat("one").st_ino == number


def test_a_directory_from_below_is_renamed(top: Path) -> None:
    with over(top) as union:
        union.rename("sub", "moved")
        assert sorted(union.listdir("moved")) == ["beside", "deep"]
        union.mkdir("sub")
        assert union.listdir("sub") == []
        union.rename("moved/deep", "sub/deeper")
        assert union.read_text("sub/deeper/file") == "deep"
    with over(top) as union:
        assert union.read_text("sub/deeper/file") == "deep"
        assert union.listdir("moved") == ["beside"]
        union.rename("moved", "again")
        assert union.read_text("again/beside") == "beside"


def test_exchange(top: Path) -> None:
    with over(top) as union:
        union.rename("sub", "one", flags=2)
        assert union.read_text("sub") == "1"
        assert sorted(union.listdir("one")) == ["beside", "deep"]


def test_hard_links_of_a_layer_stay_one_file(top: Path) -> None:
    os.link(top / "a/one", top / "a/other")
    os.link(top / "a/one", top / "a/sub/third")
    with over(top) as union:
        assert union.stat("other").st_nlink == 3
        union.write_text("other", "changed")
        assert union.read_text("one") == union.read_text("sub/third") == "changed"
        assert {union.stat(name).st_ino for name in ("one", "other", "sub/third")} == {union.stat("one").st_ino}
        assert union.stat("one").st_nlink == 3
    with over(top) as union:
        assert union.read_text("sub/third") == "changed"
        union.unlink("one")
        assert union.stat("other").st_nlink == 2
        union.link("sub/third", "fourth")
        assert union.stat("fourth").st_nlink == 3
        for name in ("other", "sub/third", "fourth"):
            assert union.read_text(name) == "changed"
            union.unlink(name)
    assert os.listdir(top / "work/index") == []


def test_a_copy_is_what_is_left_of_a_changed_hard_link(top: Path) -> None:
    os.link(top / "a/one", top / "a/other")
    with over(top) as union:
        assert union.stat("one").st_nlink == union.stat("other").st_nlink == 2
        union.write_text("one", "changed")
        union.unlink("one")
        assert union.read_text("other") == "changed"
        assert union.stat("other").st_nlink == 1


def test_links_and_dots_stay_inside(top: Path) -> None:
    (top / "a/up").symlink_to("../../../../one")
    (top / "a/absolute").symlink_to("/sub/deep/file")
    (top / "a/etc").symlink_to("/etc")
    (top / "a/loop").symlink_to("loop")
    with over(top) as union:
        assert union.read_text("up") == "1"
        assert union.read_text("absolute") == "deep"
        assert union.read_text("sub/deep/../../../one") == "1"
        assert not union.exists("etc/passwd")
        fails(errno.ELOOP, lambda: union.stat("loop"))
        assert union.lstat("loop").st_size == 4
        assert union.readlink("absolute") == "/sub/deep/file"


def test_open(top: Path) -> None:
    with over(top) as union:
        fails(errno.EEXIST, lambda: union.open("one", "x"))
        fails(errno.ENOENT, lambda: union.open("absent"))
        fails(errno.EISDIR, lambda: union.open("sub", "w"))
        fails(errno.ENOTDIR, lambda: union.open("one/"))
        fails(errno.ENOTDIR, lambda: union.open("one/x", "w"))
        fails(errno.ELOOP, lambda: union.os_open("link", os.O_RDONLY | os.O_NOFOLLOW))
        with union.open("one", "w+") as file:
            assert file.read() == ""
        with union.open("new", "xb") as file:
            file.write(b"x")
        fd = union.os_open("secret", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o000)
        assert os.write(fd, b"x") == 1
        os.close(fd)
        assert stat.S_IMODE(union.stat("secret").st_mode) == 0


def test_an_open_file_lives_on(top: Path) -> None:
    with over(top) as union, union.open("one") as below, union.open("two", "r+") as above:
        union.unlink("one")
        union.unlink("two")
        assert below.read() == "1"
        above.write("ab")
        above.seek(0)
        assert above.read() == "ab"


def test_errors_of_names(top: Path) -> None:
    with over(top) as union:
        fails(errno.ENAMETOOLONG, lambda: union.stat("n" * 256))
        fails(errno.ENAMETOOLONG, lambda: union.mkdir("n" * 256))
        union.mkdir("n" * 255)
        fails(errno.EEXIST, lambda: union.mkdir("one"))
        fails(errno.ENOTEMPTY, lambda: union.rmdir("sub"))
        fails(errno.ENOTDIR, lambda: union.rmdir("one"))
        fails(errno.EISDIR, lambda: union.unlink("sub"))
        fails(errno.EPERM, lambda: union.link("sub", "hard"))
        fails(errno.EINVAL, lambda: union.rename("sub", "sub/deep/below"))
        fails(errno.EINVAL, lambda: union.write_text(".wh.one", ""))
        fails(errno.EBUSY, lambda: union.rmdir("/"))
        fails(errno.EINVAL, lambda: union.readlink("one"))
        fails(errno.ENODATA, lambda: union.getxattr("one", "user.absent"))
        fails(errno.EISDIR, lambda: union.truncate("sub", 0))


def test_names_of_any_bytes(top: Path) -> None:
    with over(top) as union:
        name = bytes(range(1, 47)) + bytes(range(48, 256))
        union.write_bytes(name, b"odd")
        assert name in union.listdir(b"/")
        assert union.read_bytes(os.fsdecode(name)) == b"odd"


def test_paths_longer_than_the_kernel_takes(top: Path) -> None:
    with over(top) as union:
        path = "/".join(["d" * 200] * 30)
        union.makedirs(path)
        union.write_text(f"{path}/file", "far below")
        union.setxattr(f"{path}/file", "user.far", b"1")
        union.chmod(f"{path}/file", 0o640)
        union.utime(f"{path}/file", ns=(1, 2))
        union.symlink("file", f"{path}/link")
        union.rename(f"{path}/file", f"{path}/renamed")
        assert union.read_text(f"{path}/renamed") == "far below"
        assert union.getxattr(f"{path}/renamed", "user.far") == b"1"
        assert union.readlink(f"{path}/link") == "file"
        assert union.stat(f"{path}/renamed").st_mtime_ns == 2
    with over(top) as union:  # as a lower and through its own marks
        assert union.read_text(f"{path}/renamed") == "far below"
        union.rmtree("d" * 200)
        assert "d" * 200 not in union.listdir()
    remove_tree(str(top / "upper"))


def test_a_tree_deeper_than_pythons_stack(top: Path) -> None:
    with over(top) as union:
        path = ""
        for _ in range(1500):
            path += "d/"
            union.mkdir(path)
        union.write_text(f"{path}file", "at the bottom")
        union.rename("d", "e")
        assert union.read_text(f"e{path[1:]}file") == "at the bottom"
        assert union.stat(f"e{path[1:]}file").st_size == 13
    subprocess.run(["rm", "-rf", str(top / "upper/e")], check=True)


def test_deletions_of_every_spelling(top: Path) -> None:
    for name in ("device", "named", "xattr", "kept"):
        (top / "a/sub" / name).write_text(name)
    os.mknod(top / "b/sub/device", stat.S_IFCHR, 0)
    (top / "b/sub/.wh.named").touch()
    (top / "b/sub/xattr").touch()
    os.setxattr(top / "b/sub/xattr", "user.overlay.whiteout", b"y")
    os.setxattr(top / "b/sub", "user.overlay.opaque", b"x")
    (top / "b/opaque").mkdir()
    (top / "b/opaque/.wh..wh..opq").touch()
    (top / "a/opaque").mkdir()
    (top / "a/opaque/hidden").touch()
    (top / "b/fuse").mkdir()
    os.setxattr(top / "b/fuse", "user.fuseoverlayfs.opaque", b"y")
    (top / "a/fuse").mkdir()
    (top / "a/fuse/hidden").touch()
    with over(top) as union:
        assert sorted(union.listdir("sub")) == ["beside", "deep", "kept"]
        assert union.listdir("opaque") == union.listdir("fuse") == []
        union.write_text("sub/named", "again")
        union.write_text("sub/xattr", "again")
        assert sorted(union.listdir("sub")) == ["beside", "deep", "kept", "named", "xattr"]
        assert union.listxattr("sub") == []
        union.rmtree("sub")
        union.mkdir("sub")
        assert union.listdir("sub") == []


def test_a_metacopy_in_a_directory_that_does_not_say_so(top: Path) -> None:
    for layer, size in ((top / "b", 1), (top / "upper", 1)):
        (layer / "one").touch()
        os.truncate(layer / "one", size)
        os.setxattr(layer / "one", "user.overlay.metacopy", b"")
        os.chmod(layer / "one", 0o600)
    with over(top) as union:
        assert union.read_text("one") == "1" and stat.S_IMODE(union.stat("one").st_mode) == 0o600
        with union.open("one", "a") as file:
            file.write("+")
        assert union.read_text("one") == "1+"


def test_a_named_whiteout_of_the_upper_goes_with_the_name(top: Path) -> None:
    (top / "upper/.wh.one").touch()
    with over(top) as union:
        assert not union.exists("one")
        union.mkdir("one")
        assert union.listdir("one") == []
    assert not (top / "upper/.wh.one").exists()


def test_marks_are_not_shown_and_cannot_be_set(top: Path) -> None:
    with over(top) as union:
        union.rename("sub", "moved")
        union.setxattr("moved", "user.overlay.opaque", b"y")
        assert union.listxattr("moved") == ["user.overlay.opaque"]
        assert sorted(union.listdir("moved")) == ["beside", "deep"]
    with over(top) as union:
        assert sorted(union.listdir("moved")) == ["beside", "deep"]
        union.removexattr("moved", "user.overlay.opaque")
        assert union.listxattr("moved") == []


def test_a_redirect_out_of_the_layers_is_refused(top: Path) -> None:
    (top / "b/evil").mkdir()
    os.setxattr(top / "b/evil", "user.overlay.redirect", b"/../../etc")
    with over(top) as union:
        fails(errno.EINVAL, lambda: union.listdir("evil"))


def test_an_upper_is_written_by_one(top: Path) -> None:
    with over(top), pytest.raises(Conflict, match="it is in use"):
        over(top)


def test_without_a_work_directory(top: Path) -> None:
    with Union([top / "a"], upper=top / "upper") as union:
        union.unlink("one")
        union.write_text("two", "x")
        assert any(name.startswith(".upper.work-") for name in os.listdir(top))
    assert sorted(os.listdir(top)) == ["a", "b", "upper", "work"]


def test_leftovers_of_a_crash_are_removed(top: Path) -> None:
    (top / "work/work/#5/below").mkdir(parents=True)
    (top / "work/work/#6").write_text("half a copy")
    with over(top) as union:
        union.write_text("one", "x")
    assert os.listdir(top / "work/work") == []


def test_after_close(top: Path) -> None:
    union = over(top)
    union.close()
    union.close()
    fails(errno.EBADF, union.listdir)


def test_two_names_of_one_number_in_two_layers(top: Path) -> None:
    os.unlink(top / "b/two")
    os.link(top / "a/one", top / "b/two")
    with over(top) as union:
        union.write_text("two", "changed")
        assert union.read_text("one") == "1"


def test_threads(top: Path) -> None:
    with over(top) as union:
        failures: list[BaseException] = []

        def work(number: int) -> None:
            try:
                for turn in range(30):
                    union.mkdir(f"t{number}")
                    union.write_text(f"t{number}/file", str(turn))
                    union.rename(f"t{number}", f"u{number}")
                    assert union.read_text(f"u{number}/file") == str(turn)
                    assert union.read_text("sub/deep/file") == "deep"
                    union.rmtree(f"u{number}")
            except (OSError, AssertionError) as error:
                failures.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        assert sorted(union.listdir()) == ["link", "one", "sub", "two"]
