"""The calls of `lamina.Union` beside those of `os` and `pathlib`: the same answers and errors on the same tree."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from lamina.overlay.union.union import Union

Call = Callable[..., Any]


class Plain:
    """A plain directory with the calls of a union, as os has them."""

    def __init__(self, top: Path) -> None:
        self._top = os.fspath(top)

    def __getattr__(self, name: str) -> Call:
        call: Call = open if name == "open" else getattr(os, {"os_open": "open"}.get(name, name))
        paths = 2 if name in ("rename", "link") else 1

        def on_plain(*words: Any, **more: Any) -> Any:
            if name == "symlink":
                return call(words[0], os.path.join(self._top, words[1]), **more)
            return call(*(os.path.join(self._top, word) for word in words[:paths]), *words[paths:], **more)

        return on_plain


@pytest.fixture
def both(scratch: Path) -> Iterator[tuple[Plain, Union]]:
    """Return a plain directory and a union with the same tree, which comes from a layer."""
    for top in ("plain", "lower"):
        folder = scratch / top
        (folder / "dir/sub").mkdir(parents=True)
        (folder / "file").write_text("text")
        (folder / "dir/.hidden.py").write_text("")
        (folder / "dir/sub/one.py").write_text("")
        (folder / "link").symlink_to("file")
        (folder / "dangling").symlink_to("absent")
        os.link(folder / "file", folder / "dir/twin")
    for name in ("upper", "work"):
        (scratch / name).mkdir()
    with Union([scratch / "lower"], upper=scratch / "upper", work=scratch / "work", sync=False) as union:
        yield Plain(scratch / "plain"), union


def told(call: Callable[[], object]) -> object:
    try:
        result = call()
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    except ValueError:
        return "ValueError"
    if isinstance(result, os.stat_result):
        return stat.filemode(result.st_mode), result.st_nlink if not stat.S_ISDIR(result.st_mode) else 0
    if isinstance(result, list):
        return sorted(result)
    if hasattr(result, "close"):
        result.close()
        return "opened"
    return result


PATHS = [
    "file", "dir", "link", "dangling", "absent", "file/", "dir/", "link/", "dangling/", "absent/", "./file", "dir//sub",
    "file/..", "file/.", "absent/../file", "dangling/x", "dir/../file", "a\0b", "n" * 256, "dir/twin",
]  # fmt: skip

CALLS: dict[str, Callable[[Any, str], object]] = {
    "stat": lambda of, path: of.stat(path),
    "lstat": lambda of, path: of.lstat(path),
    "listdir": lambda of, path: of.listdir(path),
    "readlink": lambda of, path: of.readlink(path),
    "access": lambda of, path: of.access(path, os.R_OK | os.W_OK),
    "executable": lambda of, path: of.access(path, os.X_OK),
    "read": lambda of, path: of.open(path),
    "write": lambda of, path: of.open(path, "w"),
    "make": lambda of, path: of.open(path, "x"),
    "look": lambda of, path: os.close(of.os_open(path, os.O_PATH | os.O_NOFOLLOW)),
    "list": lambda of, path: os.close(of.os_open(path, os.O_RDONLY | os.O_DIRECTORY)),
    "nameless": lambda of, path: os.close(of.os_open(path, os.O_TMPFILE | os.O_RDWR)),
    "mkdir": lambda of, path: of.mkdir(path),
    "mkfifo": lambda of, path: of.mkfifo(path),
    "symlink": lambda of, path: of.symlink("target", path),
    "link": lambda of, path: of.link(path, "further"),
    "unlink": lambda of, path: of.unlink(path),
    "rmdir": lambda of, path: of.rmdir(path),
    "truncate": lambda of, path: of.truncate(path, 2),
    "chmod": lambda of, path: of.chmod(path, 0o700),
    "utime": lambda of, path: of.utime(path, (1.1, -1.1)),
    "listxattr": lambda of, path: of.listxattr(path),
}


@pytest.mark.parametrize("name", CALLS)
def test_one_path(both: tuple[Plain, Union], name: str) -> None:
    for path in PATHS:
        expected, got = (told(partial(CALLS[name], of, path)) for of in both)
        assert got == expected, path
        expected, got = (told(partial(of.listdir, ".")) for of in both)
        assert got == expected, path


PAIRS = [
    ("file", "dir"), ("dir", "file"), ("dir", "dir/sub/below"), ("file", "dir/twin"), ("absent", "x"),
    ("file", "x/"),
    ("link", "dir/link"), ("dir/sub/one.py", "one.py"), ("dir/sub", "moved/"), ("file", "absent/x"),
    ("one.py", "one.py"),
    ("dangling/", "x"), ("link/", "x"), ("one.py", "link"), ("link", "link/"),
]  # fmt: skip


@pytest.mark.parametrize("name", ["rename", "link"])
def test_two_paths(both: tuple[Plain, Union], name: str) -> None:
    for pair in PAIRS:
        for call in (name, "listdir"):
            words = pair if call == name else ("dir",)
            expected, got = (told(partial(getattr(of, call), *words)) for of in both)
            assert got == expected, pair


def test_times_are_rounded_as_os_does(both: tuple[Plain, Union]) -> None:
    for times in [(1.1, -1.1), (1700000000.123456, 0.0), (-0.25, 2.5)]:
        for of in both:
            of.utime("file", times)
        plain, union = (of.stat("file") for of in both)
        assert (union.st_atime_ns, union.st_mtime_ns) == (plain.st_atime_ns, plain.st_mtime_ns)
    with pytest.raises(ValueError, match="not both"):
        both[1].utime("file", (1, 1), ns=(1, 1))


def test_as_pathlib(both: tuple[Plain, Union], scratch: Path) -> None:
    _, union = both
    top = scratch / "plain"
    for pattern in ("*", "*/*", "**/*.py", "dir/**/*", "d*/s*", "./file", "nothing/*", "dir/twin"):
        expected = [path.relative_to(top).as_posix() for path in top.glob(pattern)]
        assert sorted(union.glob(pattern)) == sorted(expected), pattern
    with pytest.raises(ValueError, match="unacceptable"):
        list(union.glob(""))
    union.touch("fresh", 0o600)
    union.utime("file", ns=(1, 1))
    union.touch("link")
    assert union.stat("file").st_mtime_ns > 1 and stat.S_IMODE(union.stat("fresh").st_mode) == 0o600
    with pytest.raises(FileExistsError):
        union.touch("file", exist_ok=False)
    assert union.samefile("file", "dir/twin") and union.samefile("link", "file") and not union.samefile("file", "fresh")
    assert [union.realpath(path) for path in ("/", "dir/../link", "dir/sub/")] == ["/", "/file", "/dir/sub"]
    assert union.realpath(b"dir/twin") == b"/dir/twin"
    with pytest.raises(FileNotFoundError):
        union.realpath("dangling")
    assert union.stat(Path("dir") / "twin").st_size == 4


def test_a_listing_is_closed(both: tuple[Plain, Union]) -> None:
    _, union = both
    with union.scandir("dir") as entries:
        first = next(entries)
        assert first.name in union.listdir("dir")
    assert list(entries) == []
    with union.scandir(b"dir") as entries:
        assert sorted(entry.name for entry in entries) == [b".hidden.py", b"sub", b"twin"]


def test_a_nameless_file(both: tuple[Plain, Union], scratch: Path) -> None:
    _, union = both
    with os.fdopen(union.os_open("dir", os.O_TMPFILE | os.O_RDWR, 0o600), "w+") as file:
        file.write("nowhere")
        file.seek(0)
        assert file.read() == "nowhere"
    assert os.listdir(scratch / "upper/dir") == []
    with Union([scratch / "lower"]) as closed:
        assert told(lambda: closed.os_open("dir", os.O_TMPFILE | os.O_RDWR)) == "EROFS"
        assert not closed.access("file", os.W_OK) and closed.access("file", os.R_OK)
