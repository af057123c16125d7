"""Run the tests in every way in which they have to pass.

    python tests/run.py STAGE...

packages    root, on Debian and its children: install what tests/packages.txt lists and is missing
quick       what mounts nothing: unit and property tests
suite       all tests, as the one who calls; root enters a mount namespace of its own for them
users       root only: what mounts, once more as each ordinary user
mapped      what mounts, as root of a user namespace
old-kernel  what mounts, and the first acceptance script, where the kernel's newer calls do not exist
acceptance  the scripts of $ACCEPTANCE (default: ../shared/acceptance)

Root runs what ordinary users do with the system's Python and an installed wheel, from a copy of the checkout that
everybody may read: a checkout may lie where other users cannot go, and root's interpreter too. All stages run even if
one fails; the exit status tells.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(CHECKOUT))

from tests.helpers import probes, users  # noqa: E402  # after the path that leads there

#: The acceptance scripts that must pass; a script joins when what it tests exists.
ACCEPTANCE_SCRIPTS = ("01-article.sh", "02-union.sh", "03-dockerfile.sh", "04-images.sh")

#: Those that a user with one id cannot pass: they give files to other users and look for those.
NEEDS_IDS = ("03-dockerfile.sh",)

#: Counts the processes that are there while its own pipeline starts: two or three, as it happens.
_RACE = "ls -d /proc/[0-9]* | wc -l'"
_NO_RACE = "set -- /proc/[0-9]*; echo $#'"

#: The folders whose tests run as every kind of user.
MOUNTING = ("kernel", "rootless", "cli", "conformance", "oracle")

PRIVATE = ("unshare", "--mount", "--propagation", "private", "--")

#: Whose Python the ordinary users of root's test run get.
SYSTEM_PYTHON = os.environ.get("SYSTEM_PYTHON", "/usr/bin/python3")


class Failed(Exception):
    """What a stage needs cannot be had."""


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody as whom tests run: with which interpreter, from where. The name is empty for who called.

    What fails is noted in `failures`, which all share.
    """

    name: str
    checkout: Path
    python: Path
    temporary: str
    base_tar: str
    failures: list[str]

    def run(self, argv: list[str], *, before: tuple[str, ...] = (), **more: str) -> None:
        """Run a program from the checkout, started by the program `before`, and note it if its status is not 0."""
        more = {"TMPDIR": self.temporary, "BASE_TAR": self.base_tar, **more}
        if self.name:
            argv = users.as_user(self.name, argv)
            env = users.environment(self.name, **more)
        else:
            env = {**os.environ, **more}
        said = f"{self.name or probes.who()}: {' '.join(argv)}"
        print(f"--- {said}", flush=True)
        argv = [*before, *argv]
        done = subprocess.run(argv, env=env, cwd=self.checkout, check=False, stdin=subprocess.DEVNULL)
        if done.returncode:
            self.failures.append(said)

    def pytest(self, *words: str, before: tuple[str, ...] = (), inside: tuple[str, ...] = ()) -> None:
        """Run tests; `before` stands before the change of user, `inside` after it."""
        argv = [*inside, str(self.python), "-m", "pytest", "--quiet", "-p", "no:cacheprovider", *words]
        self.run(argv, before=before)

    def nothing_left(self) -> None:
        """Note temporary files that were left."""
        if self.name and (left := os.listdir(self.temporary)):
            self.failures.append(f"{self.name} left in {self.temporary}: {', '.join(left)}")


class Runner:
    """The stages, and what several of them share."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.root = os.geteuid() == 0
        self.failures: list[str] = []

    def packages(self) -> None:
        """Install Debian packages that are missing."""
        if not self.root or shutil.which("apt-get") is None:
            return
        lines = (CHECKOUT / "tests" / "packages.txt").read_text().splitlines()
        missing = [name for name in lines if name and not name.startswith("#") and not _is_installed(name)]
        if missing:
            env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
            for words in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", *missing]):
                subprocess.run(["apt-get", *words], check=True, env=env, stdout=subprocess.DEVNULL)

    def quick(self) -> None:
        """Run what mounts nothing."""
        self.me(base_tar="").pytest(*_folders("unit", "property"))

    def suite(self) -> None:
        """Run everything that the caller can run."""
        if self.root:
            self.me().pytest("tests", "--ignore=tests/rootless", before=PRIVATE)
        else:
            self.me().pytest("tests")

    def users(self) -> None:
        """Run what mounts as each ordinary user."""
        for person in self.people():
            if person.name:
                person.pytest(*_folders(*MOUNTING))
                person.nothing_left()

    def mapped(self) -> None:
        """Run what mounts as root of a user namespace, with all ids that the user has."""
        for person in self.people():
            if inside := self._into_user_namespace(person):
                person.pytest(*_folders("kernel"), inside=inside)
                person.nothing_left()

    def old_kernel(self) -> None:
        """Run what mounts under a filter that takes the kernel's newer calls away."""
        if not self.root and probes.who() == "subuid":
            print("left out: a filter of an ordinary user takes newuidmap's privilege away, so root has to start this")
            return
        for person in self.people():
            inside = self._into_user_namespace(person)
            before = (*(() if inside else PRIVATE), sys.executable, "-m", "tests.helpers.old_kernel")
            person.pytest(*_folders("kernel"), before=before, inside=inside)
            if person.name and (folders := _folders("rootless")):
                person.pytest(*folders, before=before)
            self._acceptance(person, ACCEPTANCE_SCRIPTS[:1], before)

    def _into_user_namespace(self, person: Person) -> tuple[str, ...]:
        """Return how an ordinary user becomes root of a user namespace; nothing for root."""
        if self.root and not person.name:
            return ()
        ranged = users.USERS[person.name] if person.name else probes.who() == "subuid"
        words = ("--map-root-user", "--map-auto") if ranged else ("--map-root-user",)
        return ("unshare", "--user", *words, "--mount", "--propagation", "private", "--")

    def acceptance(self) -> None:
        """Run the acceptance scripts as everybody."""
        for person in self.people():
            ranged = users.USERS[person.name] if person.name else probes.who() != "plain"
            scripts = tuple(script for script in ACCEPTANCE_SCRIPTS if ranged or script not in NEEDS_IDS)
            self._acceptance(person, scripts, () if person.name or not self.root else PRIVATE)

    def _acceptance(self, person: Person, scripts: tuple[str, ...], before: tuple[str, ...]) -> None:
        folder = Path(os.environ.get("ACCEPTANCE", CHECKOUT.parent / "shared" / "acceptance"))
        if not folder.is_dir():
            if os.environ.get("CI"):
                raise Failed(f"no acceptance scripts in {folder}")
            print(f"no acceptance scripts in {folder}: left out", flush=True)
            return
        folder = self._acceptance_copy(folder)
        python = str(person.python)
        command = str(person.python.with_name("lamina"))
        for script in scripts:
            person.run(["sh", str(folder / script)], before=before, LAMINA=command, PYTHON=python)
        person.nothing_left()

    def _acceptance_copy(self, folder: Path) -> Path:
        """Return a copy of the scripts that every user can read, without the race that one of them has."""
        copy = self.home / "acceptance"
        if not copy.exists():
            copy.mkdir()
            for script in folder.iterdir():
                text = script.read_text()
                if script.name == "01-article.sh":
                    lines = text.split("\n")
                    text = "\n".join(
                        line.replace(_RACE, _NO_RACE) if "echo explained" in line else line for line in lines
                    )
                (copy / script.name).write_text(text)
        return copy

    def me(self, *, base_tar: str | None = None) -> Person:
        """Return the caller, with the checkout's own environment."""
        base = self.base_tar() if base_tar is None else base_tar
        return Person("", CHECKOUT, Path(sys.executable), tempfile.gettempdir(), base, self.failures)

    def people(self) -> Iterator[Person]:
        """Return everybody as whom the caller can run tests: the caller, and for root the ordinary users."""
        if not self.root:
            yield self.me()
            return
        users.ensure_users()
        python = self.installed()
        base_tar = self.readable_base_tar()
        for name in ("", *users.USERS):
            temporary = self.home / f"tmp-{name or 'root'}"
            if not temporary.exists():
                temporary.mkdir()
                if name:
                    shutil.chown(temporary, name, name)
            yield Person(name, self.home / "checkout", python, str(temporary), base_tar, self.failures)

    def installed(self) -> Path:
        """Return an interpreter that everybody may use, with lamina installed from a wheel; root only."""
        python = self.home / "venv" / "bin" / "python"
        if not python.exists():
            _copy_checkout(self.home / "checkout")
            subprocess.run([SYSTEM_PYTHON, "-m", "venv", str(self.home / "venv")], check=True)
            pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            subprocess.run([*pip, "--upgrade", "pip>=25.1"], check=True)
            subprocess.run([*pip, "--group", "test", "."], check=True, cwd=self.home / "checkout")
            # The tests must meet the installed package, not a copy of its source.
            shutil.rmtree(self.home / "checkout" / "src")
        return python

    def base_tar(self) -> str:
        """Return a Debian root file system as tar: $BASE_TAR, or one that is made once and kept in the checkout."""
        if given := os.environ.get("BASE_TAR"):
            return given
        kept = CHECKOUT / ".cache" / "debian.tar"
        if not kept.exists():
            command = str(Path(sys.executable).with_name("lamina"))
            with tempfile.TemporaryDirectory(dir=self.home) as scratch:
                argv = ["sh", "-euc", _BOOTSTRAP, "sh", command, f"{scratch}/store", f"{scratch}/tar"]
                argv = [*(PRIVATE if self.root else ()), *argv]
                done = subprocess.run(argv, check=False, stderr=subprocess.PIPE, text=True)
                if done.returncode:
                    print(done.stderr, flush=True)
                    if os.environ.get("CI"):
                        raise Failed("bootstrapping Debian")
                    print("no Debian base: what needs one is left out", flush=True)
                    return ""
                kept.parent.mkdir(exist_ok=True)
                shutil.move(f"{scratch}/tar", kept)
        return str(kept)

    def readable_base_tar(self) -> str:
        """Return the base as a file that everybody may read."""
        readable = self.home / "debian.tar"
        base = self.base_tar()
        if base and not readable.exists():
            shutil.copyfile(base, readable)
            readable.chmod(0o644)
        return str(readable) if base else ""


_BOOTSTRAP = """
export LAMINA_ROOT="$2"
"$1" bootstrap "$(. /etc/os-release && [ "$ID" = debian ] && echo "$VERSION_CODENAME" || echo bookworm)" base:1
"$1" run --rm base:1 tar -C / --one-file-system -cf - . >"$3"
"$1" rmi base:1
"$1" prune --force
"""


def _is_installed(package: str) -> bool:
    argv = ["dpkg-query", "--show", "--showformat", "${db:Status-Status}", package]
    return subprocess.run(argv, capture_output=True, text=True, check=False).stdout == "installed"


def _folders(*names: str) -> list[str]:
    """Return those of the test folders that exist."""
    return [f"tests/{name}" for name in names if (CHECKOUT / "tests" / name).is_dir()]


def _copy_checkout(target: Path) -> None:
    """Copy what is not ignored by git, readable for everybody."""
    ignored = shutil.ignore_patterns(".[!d]*", "__pycache__", "*.egg-info", "dist")  # .dockerignore belongs to it
    shutil.copytree(CHECKOUT, target, ignore=ignored)
    subprocess.run(["chmod", "-R", "a+rX,go-w", str(target)], check=True)


def _run_stages(names: list[str], home: Path) -> int:
    runner = Runner(home)
    stages: dict[str, Callable[[], None]] = {
        "packages": runner.packages,
        "quick": runner.quick,
        "suite": runner.suite,
        "users": runner.users,
        "mapped": runner.mapped,
        "old-kernel": runner.old_kernel,
        "acceptance": runner.acceptance,
    }
    if unknown := [name for name in names if name not in stages]:
        raise SystemExit(f"no such stage: {', '.join(unknown)}; there are {', '.join(stages)}")
    said: list[str] = []
    for name in names:
        print(f"=== {name}", flush=True)
        start = time.monotonic()
        before = len(runner.failures)
        try:
            stages[name]()
        except (Failed, subprocess.CalledProcessError) as error:
            runner.failures.append(str(error))
        failures = runner.failures[before:]
        said.append(f"{name:<12}{time.monotonic() - start:8.1f} s  {'FAILED' if failures else 'passed'}")
        said += [f"    {failure}" for failure in failures]
    print("\n".join(["=== stages", *said]), flush=True)
    return 1 if runner.failures else 0


def main(names: list[str]) -> int:
    """Run the named stages in a directory of their own, which is gone afterwards."""
    # Not below a checkout or a home, which may be closed to other users.
    home = Path(tempfile.mkdtemp(prefix="lamina-run-", dir="/var/tmp"))
    home.chmod(0o755)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _: sys.exit(128 + received))
    try:
        return _run_stages(names, home)
    finally:
        shutil.rmtree(home)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    sys.exit(main(sys.argv[1:]))
