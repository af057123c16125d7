"""What is loaded between the command line and a container's process: its start-up time, kept as a list of modules."""

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
_STARTED = "the container has started"
_MAIN = "import sys; from lamina.cli.main import main; sys.exit(main())"


def loaded_before_start(lamina: Lamina, image: str) -> set[str]:
    """Return the modules that `run` loads before the container's command says something."""
    env = {name: value for name, value in lamina.environment().items() if name != "PYTHONWARNINGS"}
    words = ["run", "--rm", image, "sh", "-c", f"echo {_STARTED} >&2"]
    done = run([sys.executable, "-X", "importtime", "-c", _MAIN, *words], env=env)
    before, started, _ = done.stderr.partition(_STARTED)
    assert started
    return _modules(before)


def _modules(said: str) -> set[str]:
    return set(re.findall(r"^import time: +\d+ \| +\d+ \| +([\w.]+)$", said, re.M))


@pytest.mark.requires("userns", "overlay")
@pytest.mark.parametrize("image", ["tiny:1", "host"])
def test_a_run_loads_little(lamina: Lamina, scratch: Path, image: str) -> None:
    if image == "tiny:1":
        make_rootfs(scratch / "rootfs")
        lamina("import", scratch / "rootfs", image)
    modules = loaded_before_start(lamina, image)
    assert "lamina.runtime.launch" in modules
    bare = _modules(run([sys.executable, "-X", "importtime", "-c", ""], env=lamina.environment()).stderr)
    heavy = (modules - bare) & HEAVY
    assert not heavy
