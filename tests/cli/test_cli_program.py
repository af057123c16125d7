"""The program itself: help, versions, mistakes, and standard streams that are closed, full or broken."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lamina import __version__
from lamina.cli.commands import NAMES
from tests.helpers.command import Lamina, program


def test_help_and_version(lamina: Lamina) -> None:
    overview = lamina("--help").stdout
    assert overview == lamina("help").stdout == lamina("-h").stdout
    assert all(f"\n  {name} " in overview for name in NAMES)
    assert lamina("--version").stdout == f"lamina {__version__}\n"


@pytest.mark.parametrize("name", NAMES)
def test_help_of_each_command(lamina: Lamina, name: str) -> None:
    page = lamina(name, "--help")
    assert page.stdout == lamina("help", name).stdout
    assert page.lines()[0].startswith(f"usage: lamina {name}")
    assert "--help" in page.stdout and page.stderr == ""
    assert max(map(len, page.lines())) <= 120


@pytest.mark.parametrize(
    ("words", "stderr"),
    [
        ((), "lamina: no command given\nhint: lamina --help shows what it takes\n"),
        (("imges",), "lamina: unknown command 'imges'\nhint: did you mean images?\n"),
        (("--rot", "/x", "images"), "lamina: unknown option --rot\nhint: did you mean --root?\n"),
        (("run", "--nam", "x", "y"), "lamina: unknown option --nam\nhint: did you mean --name?\n"),
        (("images", "--root", "/x"), "lamina: unknown option --root\n"
         "hint: it stands before the command: lamina --root … images …\n"),
        (("run",), "lamina: IMAGE is missing\nhint: lamina run --help shows what it takes\n"),
        (("tag", "a"), "lamina: TARGET is missing\nhint: lamina tag --help shows what it takes\n"),
        (("rm",), "lamina: CONTAINER is missing\nhint: --all names all of them\n"),
        (("rmi", "--all", "x"), "lamina: --all leaves nothing to name\nhint: lamina rmi --help shows what it takes\n"),
        (("help", "rnu"), "lamina: unknown command 'rnu'\nhint: did you mean run?\n"),
        (("completion", "tcsh"), "lamina: SHELL is bash, zsh or fish, not 'tcsh'\n"
         "hint: lamina completion --help shows what it takes\n"),
        (("images", "--format", "{{.ID}}"), "lamina: --format is table or json, not '{{.ID}}'\n"
         "hint: templates are not supported: take the fields out of --format json\n"),
        (("images", "\x1b[31m"), "lamina: unexpected argument '\\x1b[31m'\n"
         "hint: lamina images --help shows what it takes\n"),
    ],
)  # fmt: skip
def test_mistakes_are_two_lines_at_most(lamina: Lamina, words: tuple[str, ...], stderr: str) -> None:
    done = lamina(*words, status=2)
    assert done.stderr == stderr
    assert done.stdout == ""


def test_the_traceback_is_for_those_who_ask(lamina: Lamina) -> None:
    done = lamina("--debug", "run", "no-such-image:1", status=125)
    assert "Traceback" in done.stderr and done.stderr.splitlines()[-2].startswith("lamina: ")
    assert "Traceback" not in lamina("run", "no-such-image:1", status=125).stderr


def start(lamina: Lamina, words: str, **env: str) -> subprocess.CompletedProcess[bytes]:
    """Run a shell line in which "$@" is the program."""
    return subprocess.run(
        ["sh", "-c", words, "sh", *program()],
        env={**lamina.environment(), **env},
        cwd=lamina.cwd,
        capture_output=True,
        check=False,
        timeout=60,
    )


def test_a_reader_who_has_seen_enough(lamina: Lamina) -> None:
    done = start(lamina, '{ "$@" --help; echo $? >&2; } | head -n 1 >/dev/null; :')
    assert done.stderr.strip() in (b"0", b"141")
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as broken:
        broke = subprocess.run(
            [*program(), "--help"], stdout=broken, stderr=subprocess.PIPE, env=lamina.environment(), check=False
        )
    assert (broke.returncode, broke.stderr) == (141, b"")


def test_a_full_disk(lamina: Lamina) -> None:
    done = start(lamina, '"$@" --help >/dev/full')
    assert (done.returncode, done.stderr) == (125, b"lamina: No space left on device\n")


def test_closed_streams(lamina: Lamina) -> None:
    assert start(lamina, '"$@" --help >&- 2>&- <&-').returncode == 0
    assert start(lamina, '"$@" images >&-').returncode == 0
    assert start(lamina, '"$@" imges 2>&-').returncode == 2


def test_a_terminal_that_knows_no_box_characters(lamina: Lamina) -> None:
    done = start(lamina, '"$@" --help', LC_ALL="C", PYTHONIOENCODING="ascii")
    assert done.returncode == 0 and done.stdout.isascii()


def test_a_working_directory_that_is_gone(lamina: Lamina) -> None:
    done = start(lamina, 'mkdir gone && cd gone && rmdir ../gone && "$@" images')
    assert (done.returncode, done.stderr) == (0, b"")
    done = start(lamina, 'mkdir gone && cd gone && rmdir ../gone && "$@" mount --layer a --layer b c')
    assert done.returncode == 125 and done.stderr.startswith(b"lamina: ") and b"Traceback" not in done.stderr


@pytest.mark.parametrize("place", ["/dev/null/store", "/proc/store"])
def test_a_store_that_cannot_be(lamina: Lamina, place: str) -> None:
    done = lamina("--root", place, "images", status=125)
    assert done.stderr.startswith("lamina: cannot make the store ") and place in done.stderr
    assert len(done.stderr.splitlines()) <= 2


def test_a_directory_with_other_files_is_no_store(lamina: Lamina, scratch: Path) -> None:
    (scratch / "other").mkdir()
    (scratch / "other" / "letter").write_text("x")
    done = lamina("--root", str(scratch / "other"), "images", status=125)
    assert "lamina: cannot make the store" in done.stderr
    assert (scratch / "other" / "letter").read_text() == "x"


def test_only_the_asked_command_is_loaded(lamina: Lamina) -> None:
    """What a start loads is part of how long it takes."""
    code = (
        "import sys; from lamina.cli.main import main; status = main(sys.argv[1:]);"
        "print(*sorted(sys.modules), file=sys.stderr); sys.exit(status)"
    )
    heavy = {
        "argparse", "asyncio", "contextlib", "dataclasses", "enum", "inspect", "json", "logging", "pathlib", "re",
        "rich", "shutil", "subprocess", "tempfile", "typing",
    }  # fmt: skip
    for words in (["run", "--help"], ["images"], ["images", "-q"]):
        done = subprocess.run(
            [
                sys.executable,
                "-S",
                "-c",
                code,
                *words,
            ],  # without site: what other packages' .pth files load is not ours
            env={**lamina.environment(), "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=False,
        )
        loaded = set(done.stderr.splitlines()[-1].split())
        assert not loaded & heavy, (words, sorted(loaded & heavy))
        commands = {name for name in loaded if name.startswith("lamina.cli.commands.")}
        assert commands == {f"lamina.cli.commands.{words[0]}"}
