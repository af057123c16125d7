"""What a container's run loads, from the command line to the removal: its start-up time, kept as a list of modules."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests.helpers.command import Lamina, run
from tests.helpers.rootfs import make_rootfs

#: What costs milliseconds to import (the same as in tests/unit/test_source_rules.py, here for what functions import).
HEAVY = {
    "argparse",
    "contextlib",
    "dataclasses",
    "enum",
    "inspect",
    "json",
    "logging",
    "pathlib",
    "re",
    "rich",
    "shutil",
    "subprocess",
    "tempfile",
    "typing",
    "urllib",
}
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
