"""What a container's run loads, from the command line to the removal: its start-up time, kept as a list of modules."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest

from tests.helpers.command import Lamina, run
from tests.helpers.heavy import HEAVY
from tests.helpers.rootfs import make_rootfs

_MAIN = "from lamina.cli.main import program; program()"


def loaded(lamina: Lamina, *words: str) -> set[str]:
    """Return the modules that a command loads beside those of a bare interpreter."""
    env = {name: value for name, value in lamina.environment().items() if name != "PYTHONWARNINGS"}
    bare = run([sys.executable, "-X", "importtime", "-c", ""], env=env)
    done = run([sys.executable, "-X", "importtime", "-c", _MAIN, *words], env=env)
    return _modules(done.stderr) - _modules(bare.stderr)


def _modules(said: str) -> set[str]:
    return set(re.findall(r"^import time: +\d+ \| +\d+ \| +([\w.]+)$", said, re.M))


@pytest.mark.requires("userns", "overlay")
@pytest.mark.parametrize("image", ["tiny:1", "host"])
def test_a_run_loads_little(lamina: Lamina, scratch: Path, image: str) -> None:
    if image == "tiny:1":
        make_rootfs(scratch / "rootfs")
        lamina("import", scratch / "rootfs", image)
    lamina("run", "--rm", image, "true")  # the first start in a store compiles the filter of system calls
    modules = loaded(lamina, "run", "--rm", image, "true")
    assert "lamina.runtime.launch" in modules
    heavy = modules & HEAVY
    assert not heavy


LISTS = Path(__file__).parent.parent / "golden" / "loads"

#: The commands whose start is watched, and what has to be there before.
COMMANDS = {
    "run": ["run", "--rm", "tiny:1", "true"],
    "version": ["--version"],
    "ps": ["ps", "-a"],
    "images": ["images"],
    "rm": ["rm", "box"],
    "tag": ["tag", "tiny:1", "tiny:2"],
}


@pytest.mark.requires("root", "overlay")
@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_loads_what_its_list_says(lamina: Lamina, scratch: Path, name: str) -> None:
    """A module that is new there is paid for at each start. LAMINA_NEW_LISTS=1 writes the lists anew."""
    make_rootfs(scratch / "rootfs")
    lamina("import", scratch / "rootfs", "tiny:1")
    lamina("run", "--name", "box", "tiny:1", "true")
    modules = sorted(module for module in loaded(lamina, *COMMANDS[name]) if module.split(".")[0] == "lamina")
    path = LISTS / f"{name}.txt"
    if os.environ.get("LAMINA_NEW_LISTS"):
        path.write_text("\n".join(modules) + "\n")
    assert modules == path.read_text().split()
