"""Completion: what the program offers for a line, and the scripts in the shells themselves."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from lamina.cli.completion import split
from tests.helpers.command import Lamina, program


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("lamina", ["lamina"]),
        ("lamina ", ["lamina", ""]),
        ("lamina  run  ", ["lamina", "run", ""]),
        ("lamina run -e 'a b", ["lamina", "run", "-e", "a b"]),
        ('lamina run "a\\"b" c\\ d', ["lamina", "run", 'a"b', "c d"]),
        ("lamina '' x", ["lamina", "", "x"]),
        ("lamina ''", ["lamina", ""]),
        ("", [""]),
    ],
)
def test_words_of_a_line(line: str, words: list[str]) -> None:
    assert split(line) == words


def offered(lamina: Lamina, line: str, shell: str = "zsh") -> list[str]:
    return [answer.partition("\t")[0] for answer in lamina("completion", shell, "--line", line).lines()]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("lamina im", ["import", "images"]),
        ("lamina --root x im", ["import", "images"]),
        ("lamina --ro", ["--root"]),
        ("lamina --root ", [":directories"]),
        ("lamina run --read", ["--read-only"]),
        ("lamina run --network ", ["host", "none"]),
        ("lamina run --network=n", ["--network=none"]),
        ("lamina run -it --env-file ", [":files"]),
        ("lamina run ho", ["host"]),
        ("lamina run host --network", [":files"]),
        ("lamina run --name run --privi", ["--privileged"]),
        ("lamina mount --layer ", [":directories"]),
        ("lamina mount m -- sh -", [":files"]),
        ("lamina umount a ", []),
        ("lamina images --format j", ["json"]),
        ("lamina completion ", ["bash", "zsh", "fish"]),
        ("lamina help pru", ["prune"]),
        ("lamina nonsense ", []),
        ("lamina run --nonsense=", []),
    ],
)
def test_what_is_offered(lamina: Lamina, line: str, expected: list[str]) -> None:
    assert offered(lamina, line) == expected


def test_images_and_containers_are_offered(lamina: Lamina, scratch: Path) -> None:
    (scratch / "root").mkdir()
    lamina("import", scratch / "root", "mine:1")
    lamina("import", scratch / "root", "mine:2")
    assert offered(lamina, "lamina run mi") == ["mine:1", "mine:2"]
    assert offered(lamina, "lamina rmi mine:1 mi") == ["mine:1", "mine:2"]
    # bash takes the colon for the end of a word, and inserts what comes after it
    assert offered(lamina, "lamina run mine:", "bash") == ["1", "2"]


@pytest.fixture
def shell_environment(lamina: Lamina, scratch: Path) -> dict[str, str]:
    """Return an environment in which `lamina` is the tested program."""
    tool = scratch / "bin" / "lamina"
    tool.parent.mkdir()
    words = " ".join(f"'{word}'" for word in program())
    tool.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
    tool.chmod(0o755)
    environment = lamina.environment()
    (scratch / "directory").mkdir()
    (scratch / "file").write_text("")
    return {**environment, "PATH": f"{tool.parent}:{environment['PATH']}", "HOME": str(scratch)}


def in_shell(argv: list[str], environment: dict[str, str], scratch: Path) -> list[str]:
    done = subprocess.run(argv, env=environment, cwd=scratch, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0 and done.stderr == "", done
    return done.stdout.splitlines()


@pytest.mark.requires("bash")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["lamina", "im"], {"import", "images"}),
        (["lamina", "run", "--network", "n"], {"none"}),
        (["lamina", "run", "--network", "=", ""], {"host", "none"}),
        (["lamina", "mount", "--layer", "d"], {"directory"}),
        (["lamina", "run", "--env-file", "f"], {"file"}),
    ],
)
def test_bash(shell_environment: dict[str, str], scratch: Path, words: list[str], expected: set[str]) -> None:
    line = " ".join(words).replace(" = ", "=")
    code = (
        'source <(lamina completion bash); COMP_LINE=$1; COMP_POINT=${#COMP_LINE}; shift; COMP_WORDS=("$@");'
        "COMP_CWORD=$(($# - 1)); compopt() { :; }; _lamina;"
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    found = in_shell(["bash", "--norc", "-c", code, "bash", line, *words], shell_environment, scratch)
    assert set(found) == expected


@pytest.mark.requires("zsh")
def test_zsh(shell_environment: dict[str, str], scratch: Path) -> None:
    code = (
        "autoload -Uz compinit && compinit -u -D && source <(lamina completion zsh);"
        "print -r -- ${_comps[lamina]}; compadd() { print -rl -- $found };"
        "words=(lamina im); CURRENT=2; PREFIX=im; _lamina;"
        "_files() { print files $* }; words=(lamina mount --layer ''); CURRENT=4; PREFIX=; _lamina"
    )
    found = in_shell(["zsh", "-f", "-c", code], shell_environment, scratch)
    assert found == ["_lamina", "import", "images", "files -/"]


@pytest.mark.requires("fish")
def test_fish(shell_environment: dict[str, str], scratch: Path) -> None:
    def complete(line: str) -> list[str]:
        code = f"lamina completion fish | source; complete -C '{line}'"
        return in_shell(["fish", "--no-config", "-c", code], shell_environment, scratch)

    assert {answer.partition("\t")[0] for answer in complete("lamina im")} == {"import", "images"}
    assert complete("lamina run --network=n") == ["--network=none"]
    assert {answer.partition("\t")[0] for answer in complete("lamina mount --layer d")} == {"directory/"}
