"""`run --explain`: the script does the same, as what the command inside sees tells."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.helpers.boxes import MORE
from tests.helpers.command import Lamina, run
from tests.helpers.rootfs import make_rootfs

pytestmark = pytest.mark.requires("overlay", "userns", "unshare", "setpriv")

_OPTIONS = {
    "plain": (),
    "many": (
        "-e", "A=1 '2'\n3", "-w", "/a/b", "--hostname", "box", "--tmpfs", "/media:size=1m", "--ulimit", "nofile=50:60",
        "--cap-drop", "CHOWN", "--security-opt", "no-new-privileges", "--add-host", "db:10.0.0.1",
    ),
    "none": ("--network", "none"),
    "read-only": ("--read-only",),
}  # fmt: skip

_LOOK = (
    "id; pwd; hostname; ulimit -n; umask; env | grep -v '^_=' | sort; grep -E 'Cap|NoNewPrivs' /proc/self/status;"
    "ls /dev; readlink /dev/fd; cat /etc/hostname /etc/hosts; set -- /proc/[0-9]*; echo $#;"
    "while read -r _ target type _; do echo $target $type; done </proc/self/mounts | sort; test -w / && echo writable"
)


def explained(lamina: Lamina, *words: str) -> str:
    return lamina("run", "--rm", "--explain", *words).stdout


def compare(lamina: Lamina, scratch: Path, image: str, options: tuple[str, ...]) -> None:
    command = (*options, "--hostname", "box", image, "sh", "-c", _LOOK)
    script = explained(lamina, *command)
    run(["sh", "-n"], input=script)
    done = run(["sh", "-s"], input=script, env=lamina.environment(), cwd=scratch, status=None)
    launched = lamina("run", "--rm", *command, status=None)
    assert done.stdout.splitlines() == launched.lines(), done.stderr
    assert done.status == launched.status


@pytest.mark.parametrize("name", [*_OPTIONS])
@pytest.mark.parametrize("tools", [True, False], ids=["tools", "bare"])
def test_the_script_does_the_same(lamina: Lamina, scratch: Path, name: str, tools: bool) -> None:
    programs = (*MORE, "sort", "wc")
    make_rootfs(scratch / "rootfs", (*programs, "umount", "setpriv") if tools else programs)
    lamina("import", scratch / "rootfs", "tiny:1")
    compare(lamina, scratch, "tiny:1", _OPTIONS[name])


def test_over_the_host(lamina: Lamina, scratch: Path) -> None:
    # A script has no server of a union to leave behind, and says so: it shows the kernel's way.
    compare(lamina, scratch, "host", ("--driver", "kernel"))


def test_nothing_is_done_by_explaining(lamina: Lamina, scratch: Path) -> None:
    explained(lamina, "-v", f"{scratch}/missing:/mnt", "host", "true")
    assert not (scratch / "missing").exists()
    assert lamina("ps", "-aq").stdout == ""


@pytest.mark.requires("shellcheck")
@pytest.mark.parametrize("name", [*_OPTIONS])
def test_shellcheck_finds_nothing(lamina: Lamina, name: str) -> None:
    script = explained(lamina, *_OPTIONS[name], "host", "sh", "-c", 'echo it\\\'s; echo "$A"')
    done = subprocess.run(
        ["shellcheck", "--severity=warning", "-"], input=script, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
