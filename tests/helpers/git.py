"""Git repositories for tests."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

_ENVIRONMENT = {
    "PATH": os.environ.get("PATH", os.defpath),
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_AUTHOR_NAME": "a",
    "GIT_AUTHOR_EMAIL": "a@example.com",
    "GIT_COMMITTER_NAME": "a",
    "GIT_COMMITTER_EMAIL": "a@example.com",
    "GIT_AUTHOR_DATE": "2001-02-03T04:05:06Z",
    "GIT_COMMITTER_DATE": "2001-02-03T04:05:06Z",
}

#: The time of every commit, in seconds since the epoch.
COMMITTED = 981173106


def git(directory: Path, *words: str) -> str:
    """Run git in a directory; what it says is returned."""
    done = subprocess.run(
        ["git", "-c", "protocol.file.allow=always", "-C", str(directory), *words],
        env=_ENVIRONMENT,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def make_repository(directory: Path, files: dict[str, str]) -> str:
    """Make a repository with a branch `main` and one commit of these files; return the commit."""
    directory.mkdir(parents=True)
    git(directory, "init", "-q", "-b", "main")
    return commit(directory, files)


def commit(directory: Path, files: dict[str, str]) -> str:
    """Write files into a repository's work tree and commit them; return the commit."""
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    git(directory, "add", "-A")
    git(directory, "commit", "-q", "-m", "more")
    return git(directory, "rev-parse", "HEAD")
