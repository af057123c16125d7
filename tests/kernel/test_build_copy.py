"""What COPY takes, and what comes of it: wildcards, .dockerignore, owners, modes, links, times."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lamina.build.files import copy_sources, digest_sources
from lamina.errors import InvalidInput
from lamina.linux.namespaces import in_first_user_namespace


@pytest.fixture
def context(scratch: Path) -> Path:
    top = scratch / "context"
    (top / "src" / "deep").mkdir(parents=True)
    (top / "src" / "a.py").write_text("a")
    (top / "src" / "deep" / "b.py").write_text("b")
    (top / "src" / "deep" / "b.txt").write_text("t")
    (top / "one").write_text("1")
    (top / "two").write_text("2")
    (top / "link").symlink_to("one")
    (top / "src" / "link").symlink_to("/etc/passwd")
    (top / "run.sh").write_text("#!/bin/sh\n")
    (top / "run.sh").chmod(0o755)
    os.utime(top / "one", ns=(1_000_000_001, 1_000_000_001))
    return top


def _first_root() -> bool:
    return os.geteuid() == 0 and in_first_user_namespace()


def copied(context: Path, sources: list[str], destination: str, **more: object) -> dict[str, str]:
    """Copy into a tree with /srv/ and a link /there to it; return path -> content, target or "dir" of the upper."""
    scratch = context.parent
    below, upper = scratch / "below", scratch / "upper"
    (below / "srv").mkdir(parents=True)
    (below / "there").symlink_to("srv")
    upper.mkdir()
    arguments: dict[str, Any] = {
        "layers": [str(context)], "sources": sources, "below": [str(below)], "upper": str(upper),
        "destination": destination, "ignore": "", "exclude": [], "parents": False, "owner": [], "mode": "",
        "created": 0, "userxattr": not _first_root(), "single_id": not _first_root(), **more,
    }  # fmt: skip
    copy_sources(**arguments)
    return {str(path.relative_to(upper)): _content(path) for path in sorted(upper.rglob("*"))}


def _content(path: Path) -> str:
    if path.is_symlink():
        return f"-> {path.readlink()}"
    return "dir" if path.is_dir() else path.read_text()


def test_a_file_gets_the_name_of_the_destination(context: Path) -> None:
    assert copied(context, ["one"], "/new/name") == {"new": "dir", "new/name": "1"}


def test_a_file_goes_into_a_directory_that_exists(context: Path) -> None:
    assert copied(context, ["one"], "/srv") == {"srv": "dir", "srv/one": "1"}


def test_a_slash_at_the_end_makes_a_directory(context: Path) -> None:
    assert copied(context, ["one"], "/new/") == {"new": "dir", "new/one": "1"}


def test_of_a_directory_the_content_is_copied(context: Path) -> None:
    assert copied(context, ["src"], "/x") == {
        "x": "dir", "x/a.py": "a", "x/deep": "dir", "x/deep/b.py": "b", "x/deep/b.txt": "t", "x/link": "-> /etc/passwd",
    }  # fmt: skip


def test_wildcards_match_names(context: Path) -> None:
    assert copied(context, ["t*", "src/*.py"], "/x/") == {"x": "dir", "x/two": "2", "x/a.py": "a"}


def test_a_named_link_is_followed_one_that_is_found_is_not(context: Path) -> None:
    assert copied(context, ["link"], "/x") == {"x": "1"}


def test_a_link_in_the_image_is_followed_within_it(context: Path) -> None:
    assert copied(context, ["one"], "/there/") == {"srv": "dir", "srv/one": "1"}


def test_the_ignore_file_and_exclude_leave_out(context: Path) -> None:
    ignore = "src/**/*.txt\n"
    assert copied(context, ["src"], "/x", ignore=ignore, exclude=["link"]) == {
        "x": "dir", "x/a.py": "a", "x/deep": "dir", "x/deep/b.py": "b",
    }  # fmt: skip


def test_parents_keeps_the_directories(context: Path) -> None:
    found = copied(context, ["src/./deep/b.py", "src/a.py"], "/x/", parents=True)
    assert {name for name, content in found.items() if content != "dir"} == {"x/deep/b.py", "x/src/a.py"}


def test_times_and_modes_are_kept_or_given(context: Path) -> None:
    copied(context, ["one", "run.sh"], "/x/")
    upper = context.parent / "upper" / "x"
    assert (upper / "one").stat().st_mtime_ns == 1_000_000_001
    assert stat.S_IMODE((upper / "run.sh").stat().st_mode) == 0o755


def test_chmod_is_octal_or_symbolic(context: Path) -> None:
    copied(context, ["run.sh"], "/x", mode="go-rx,u+s")
    assert stat.S_IMODE((context.parent / "upper" / "x").stat().st_mode) == 0o4700


@pytest.mark.requires("root")
def test_owners_are_given(context: Path) -> None:
    copied(context, ["one"], "/new/x", owner=[5, 6])
    for name in ("new", "new/x"):
        status = (context.parent / "upper" / name).stat()
        assert (status.st_uid, status.st_gid) == (5, 6)


@pytest.mark.parametrize(("source", "reason"), [("nothing", "no such file"), ("one", "leaves it out")])
def test_a_source_that_is_not_there_is_named(context: Path, source: str, reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        copied(context, [source], "/x", ignore="one\n")


def test_a_wildcard_may_match_nothing(context: Path) -> None:
    assert copied(context, ["none*"], "/x/") == {}


def test_a_digest_covers_content_and_mode_and_no_time(context: Path) -> None:
    def digest() -> list[list[str]]:
        found = digest_sources(layers=[str(context)], ignore="", sources=["one"], exclude=[], parents=False)
        return found["files"]

    before = digest()
    os.utime(context / "one", ns=(5, 5))
    assert digest() == before
    (context / "one").chmod(0o600)
    assert [row[1] for row in digest()] == ["0600"]
    (context / "one").write_text("other")
    assert digest()[0][2] != before[0][2]


def _grow(context: Path) -> None:
    with (context / "src/a.py").open("a") as file:
        file.write("more")


def _same_look(context: Path) -> None:
    """Write other content of the same size, with the time of before."""
    path = context / "src/a.py"
    status = path.stat()
    path.write_text("b")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def _other_link(context: Path) -> None:
    (context / "src/link").unlink()
    (context / "src/link").symlink_to("/etc/group")


def _become_directory(context: Path) -> None:
    (context / "src/a.py").unlink()
    (context / "src/a.py").mkdir()


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (_grow, "src/a.py"),
        (_same_look, "src/a.py"),
        (_other_link, "src/link"),
        (_become_directory, "src/a.py"),
        (lambda context: (context / "src/a.py").chmod(0o600), "src/a.py"),
        (lambda context: (context / "src/a.py").unlink(), "src/a.py"),
        (lambda context: (context / "src/deep/new").touch(), "src/deep/new"),
    ],
)
def test_what_changed_after_it_was_digested_is_not_copied(
    context: Path, change: Callable[[Path], object], name: str
) -> None:
    rows = digest_sources(layers=[str(context)], ignore="", sources=["src"], exclude=[], parents=False)["files"]
    change(context)
    with pytest.raises(InvalidInput, match="changed while it was read") as caught:
        copied(context, ["src"], "/x", rows=rows)
    assert caught.value.subject == name


def test_what_was_only_touched_is_copied(context: Path) -> None:
    (context / "src/again").hardlink_to(context / "src/a.py")
    rows = digest_sources(layers=[str(context)], ignore="", sources=["src"], exclude=[], parents=False)["files"]
    os.utime(context / "src/a.py")
    (context / "src/deep/ignored").touch()
    (context / "src/deep/ignored").unlink()
    assert copied(context, ["src"], "/x", rows=rows)["x/a.py"] == "a"
