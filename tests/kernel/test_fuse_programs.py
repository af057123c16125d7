"""Real programs over our mount: what they make is what they make over the kernel's overlay."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kernel.posix.places import place

pytestmark = pytest.mark.requires("root", "overlay", "fuse")

_GIT = {
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_SYSTEM": "/dev/null",
    "GIT_AUTHOR_NAME": "a",
    "GIT_AUTHOR_EMAIL": "a@example.org",
    "GIT_COMMITTER_NAME": "a",
    "GIT_COMMITTER_EMAIL": "a@example.org",
    "GIT_AUTHOR_DATE": "1000000000 +0000",
    "GIT_COMMITTER_DATE": "1000000000 +0000",
}

#: Writes rows in transactions of its own while others do, waiting for them.
_WRITER = """
import sqlite3, sys
base = sqlite3.connect(sys.argv[1], timeout=60, isolation_level=None)
for number in range(int(sys.argv[3])):
    base.execute("BEGIN IMMEDIATE")
    base.execute("INSERT INTO rows VALUES (?, ?, ?)", (sys.argv[2], number, "x" * 300))
    base.execute("COMMIT")
"""


def git(top: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", str(top), *words], env={**os.environ, **_GIT}, capture_output=True, check=True)
    return done.stdout.decode()


def _repository(lower: Path) -> None:
    """Make a repository with a history, which lies in a layer."""
    git(lower, "init", "-q", "-b", "main", "repository")
    for number in range(60):
        path = lower / f"repository/directory{number % 7}/file{number}"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"{number}\n" * 50)
    git(lower / "repository", "add", ".")
    git(lower / "repository", "commit", "-qm", "all of it")


@pytest.mark.requires("git")
@pytest.mark.parametrize("kind", ["kernel", "fuse"])
def test_git(scratch: Path, kind: str) -> None:
    with place(kind, scratch, _repository) as top:
        here = top / "repository"
        assert git(here, "status", "--porcelain") == ""
        git(here, "mv", "directory1", "moved")
        (here / "directory2/file2").write_text("changed\n")
        git(here, "rm", "-q", "-r", "directory3")
        git(here, "commit", "-qam", "changes")
        git(top, "clone", "-q", "repository", "clone")
        git(here, "gc", "-q", "--prune=now")
        git(here, "repack", "-q", "-a", "-d", "-f")
        for repository in (here, top / "clone"):
            git(repository, "fsck", "--full", "--strict")
            assert git(repository, "status", "--porcelain") == ""
            # The objects are named by what they hold, so this is all there is to compare.
            assert git(repository, "rev-parse", "HEAD^{tree}") == git(here, "rev-parse", "main^{tree}")
        git(here, "checkout", "-q", "HEAD~1")
        assert (here / "directory3/file3").read_text() == "3\n" * 50
        assert not (here / "moved").exists()


def _database(lower: Path) -> None:
    with sqlite3.connect(lower / "base.sqlite") as base:
        base.execute("CREATE TABLE rows (writer TEXT, number INTEGER, text TEXT)")
    base.close()


@pytest.mark.parametrize("journal", ["wal", "delete"])
def test_sqlite(scratch: Path, journal: str) -> None:
    writers, rows = 3, 40
    with place("fuse", scratch, _database) as top:
        path = top / "base.sqlite"
        base = sqlite3.connect(path, isolation_level=None)
        assert base.execute(f"PRAGMA journal_mode={journal}").fetchone() == (journal,)
        running = [
            subprocess.Popen([sys.executable, "-c", _WRITER, str(path), str(number), str(rows)])
            for number in range(writers)
        ]
        assert [process.wait(120) for process in running] == [0] * writers
        assert base.execute("SELECT count(*), count(DISTINCT writer) FROM rows").fetchone() == (writers * rows, writers)
        assert base.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        base.execute("BEGIN")
        base.execute("DELETE FROM rows")
        base.execute("ROLLBACK")
        base.execute("VACUUM")
        assert base.execute("SELECT count(*) FROM rows").fetchone() == (writers * rows,)
        # Killed in the middle of a transaction: what was committed is there, and nothing else.
        writer = subprocess.Popen([sys.executable, "-c", _WRITER, str(path), "killed", "1000000"])
        while base.execute("SELECT count(*) FROM rows WHERE writer = 'killed'").fetchone()[0] < 5:
            pass
        writer.kill()
        writer.wait()
        numbers = [row[0] for row in base.execute("SELECT number FROM rows WHERE writer = 'killed' ORDER BY number")]
        assert numbers == list(range(len(numbers)))
        assert base.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        base.close()
