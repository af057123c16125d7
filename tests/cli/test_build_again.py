"""A build that was done already is found by its note, and by nothing else as soon as anything differs."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers.command import Lamina
from tests.helpers.images import rootfs_archive
from tests.helpers.wait import until

_FILE = """\
FROM base:1 AS other
COPY one /other
FROM base:1
COPY --from=other /other /b
COPY part* /parts/
COPY . /all/
"""
_IGNORE = "left\nDockerfile*\nempty/*\n!empty/wanted\n"
_TOLD = "as the note has it"


@pytest.fixture
def context(lamina: Lamina, scratch: Path) -> Path:
    """A context that was built, and whose note says so."""
    lamina("import", rootfs_archive(scratch / "rootfs.tar"), "base:1")
    top = scratch / "context"
    (top / "part").mkdir(parents=True)
    (top / "empty").mkdir()
    for name in ("one", "part/two", "left"):
        (top / name).write_text(f"{name}\n")
    (top / "link").symlink_to("one")
    (top / ".dockerignore").write_text(_IGNORE)
    (top / "Dockerfile").write_text(_FILE)

    def noted() -> bool:  # files that were changed just now get no note
        lamina("build", "-t", "built:1", top)
        return any(_notes(lamina))

    until(noted, "a note of the build", seconds=60)
    (note,) = _notes(lamina)
    note.write_text(note.read_text().replace("exporting to image", _TOLD))
    return top


def _notes(lamina: Lamina) -> list[Path]:
    return sorted((lamina.store / "build/whole").glob("*"))


def _is_found(lamina: Lamina, context: Path, *words: str) -> bool:
    """Build, and tell whether the note was taken; the image has to be the one of the steps in any case."""
    done = lamina("build", "-t", "built:1", *words, context)
    steps = lamina("build", "-t", "built:1", "--explain-cache", *words, context)
    assert done.stdout == steps.stdout
    return _TOLD in done.stderr


def test_the_steps_are_told_as_cached(lamina: Lamina, context: Path) -> None:
    first = lamina("build", "-t", "built:1", "--explain-cache", context)
    done = lamina("build", "-t", "built:1", context)
    assert done.stdout == first.stdout
    assert done.stderr.count("CACHED") == 4
    assert _TOLD in done.stderr
    assert "[stage-1 4/4] COPY . /all/" in done.stderr


def _change_in_place(context: Path) -> None:
    status = os.stat(context / "part/two")
    (context / "part/two").write_text("PART/two")
    os.utime(context / "part/two", ns=(status.st_atime_ns, status.st_mtime_ns))


def _change_link(context: Path) -> None:
    (context / "link").unlink()
    (context / "link").symlink_to("two")


_CHANGES: dict[str, Callable[[Path], object]] = {
    "content": _change_in_place,
    "mode": lambda context: (context / "part/two").chmod(0o600),
    "new name": lambda context: (context / "part/three").write_text("three\n"),
    "name less": lambda context: (context / "part/two").unlink(),
    "new match": lambda context: (context / "part2").write_text("part 2\n"),
    "exception": lambda context: (context / "empty/wanted").write_text("wanted\n"),
    "link": _change_link,
    "ignore": lambda context: (context / ".dockerignore").write_text("empty\n"),
    "own ignore": lambda context: (context / "Dockerfile.dockerignore").write_text("one2\n"),
    "Dockerfile": lambda context: (context / "Dockerfile").write_text(_FILE + "LABEL a=b\n"),
}


@pytest.mark.parametrize("change", _CHANGES)
def test_a_change_is_seen(lamina: Lamina, context: Path, change: str) -> None:
    assert _is_found(lamina, context)
    _CHANGES[change](context)
    assert not _is_found(lamina, context)


def test_what_does_not_count_is_not_looked_at(lamina: Lamina, context: Path) -> None:
    (context / "left").write_text("something else\n")
    assert _is_found(lamina, context)


@pytest.mark.parametrize(
    "words",
    [
        ["--label", "a=b"],
        ["--build-arg", "A=b"],
        ["--target", "other"],
        ["--no-cache"],
        ["-t", "more:1"],
        ["--squash"],
        ["--network", "none"],
        ["--timestamp", "1"],
    ],
)
def test_other_options_are_another_build(lamina: Lamina, context: Path, words: list[str]) -> None:
    done = lamina("build", "-t", "built:1", *words, context)
    assert _TOLD not in done.stderr


def test_names_mean_what_they_meant(lamina: Lamina, context: Path, scratch: Path) -> None:
    lamina("rmi", "built:1")
    assert not _is_found(lamina, context)
    (note,) = _notes(lamina)
    note.write_text(note.read_text().replace("exporting to image", _TOLD))
    assert _is_found(lamina, context)
    lamina("build", "-t", "base:1", "-f", "-", context, input="FROM base:1\nCOPY one /new\n")
    assert not _is_found(lamina, context)


def test_pruning_takes_the_notes(lamina: Lamina, context: Path) -> None:
    lamina("prune", "--force", "--kind", "cache")
    assert not _notes(lamina)
    assert not _is_found(lamina, context)


def test_a_lost_layer_or_a_damaged_note_is_no_build(lamina: Lamina, context: Path) -> None:
    (note,) = _notes(lamina)
    kept = note.read_text()
    note.write_text("rubbish\n")
    assert not _is_found(lamina, context)
    note.write_text(kept)
    assert _is_found(lamina, context)
    for step in (lamina.store / "build/steps").iterdir():
        step.unlink()
    assert _TOLD not in lamina("build", "-t", "built:1", context).stderr
