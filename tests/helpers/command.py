"""Running the command as its users do: as a process, by its installed name."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.helpers import users


@dataclass(frozen=True, slots=True)
class Done:
    """What a command returned and said."""

    argv: tuple[str, ...]
    status: int
    stdout: str
    stderr: str

    def lines(self) -> list[str]:
        """Return the lines of the standard output."""
        return self.stdout.splitlines()


def program() -> list[str]:
    """Return how the tested `lamina` is started: $LAMINA, the one of this environment, or the package on the path."""
    if given := os.environ.get("LAMINA"):
        return [given]
    installed = Path(sys.executable).with_name("lamina")
    return [str(installed)] if installed.exists() else [sys.executable, "-m", "lamina"]


class Lamina:
    """The command over one store: `lamina("run", "--rm", "base:1", "true")`.

    A status other than the expected one fails the test with what the command said; None takes any.
    """

    def __init__(self, store: Path, *, cwd: Path) -> None:
        self.store = store
        self.cwd = cwd

    def environment(self) -> dict[str, str]:
        """Return the environment of the command: what a login has, and the store."""
        kept = ("HOME", "LOGNAME", "PATH", "PYTHONPATH", "TMPDIR", "USER", "XDG_RUNTIME_DIR")
        return {
            **{name: os.environ[name] for name in kept if name in os.environ},
            "LANG": "C.UTF-8",
            "LAMINA_ROOT": str(self.store),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONWARNINGS": "error",
        }

    def __call__(
        self,
        *words: str | os.PathLike[str],
        input: str | bytes = b"",  # noqa: A002  # subprocess.run's own word
        status: int | None = 0,
        env: dict[str, str] | None = None,
        cwd: Path | None = None,
        seconds: float = 120.0,
    ) -> Done:
        """Run the command to its end and return what it did."""
        return run(
            [*program(), *(os.fspath(word) for word in words)],
            input=input,
            status=status,
            env={**self.environment(), **(env or {})},
            cwd=cwd or self.cwd,
            seconds=seconds,
        )

    def empty_store(self) -> None:
        """Remove what the store holds, so that its directory can go: files of mapped ids need the command itself."""
        if self.store.exists():
            for words in (("rm", "--all", "--force"), ("rmi", "--all", "--force"), ("prune", "--force")):
                self(*words)


class Users:
    """The ordinary users of the machine, seen from root."""

    names = tuple(users.USERS)

    def run(self, name: str, argv: list[str], *, status: int | None = 0, **env: str) -> Done:
        """Run a program as one of them, in the root directory."""
        return run(users.as_user(name, argv), status=status, env=users.environment(name, **env), cwd=Path("/"))


def run(
    argv: list[str],
    *,
    input: str | bytes = b"",  # noqa: A002  # subprocess.run's own word
    status: int | None = 0,
    env: dict[str, str] | None = None,
    cwd: Path | None = None,
    seconds: float = 120.0,
) -> Done:
    """Run any program; AssertionError where its status is not the expected one."""
    data = input.encode() if isinstance(input, str) else input
    done = subprocess.run(argv, input=data, capture_output=True, env=env, cwd=cwd, timeout=seconds, check=False)
    stdout, stderr = (text.decode(errors="backslashreplace") for text in (done.stdout, done.stderr))
    said = Done(tuple(argv), done.returncode, stdout, stderr)
    if status is not None and said.status != status:
        raise AssertionError(
            f"{' '.join(argv)}: status {said.status}, not {status}\n-- stdout\n{said.stdout}\n-- stderr\n{said.stderr}"
        )
    return said
