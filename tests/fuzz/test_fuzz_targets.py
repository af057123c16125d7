"""Each target of the fuzzer, for a few seconds: as long as `make test-long` has time for, or `python -m tests.fuzz`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.targets import TARGETS
from tests.helpers.effort import effort

_ROOT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_are_read_or_refused(name: str) -> None:
    target = TARGETS[name]
    for seed in target.seeds():
        target.run(seed)


@pytest.mark.requires("atheris")
@pytest.mark.parametrize("name", TARGETS)
def test_nothing_breaks_it(name: str, scratch: Path) -> None:
    seconds = effort(short=4, long=120)
    argv = [sys.executable, "-m", "tests.fuzz", name, f"-max_total_time={seconds}", f"-artifact_prefix={scratch}/"]
    done = subprocess.run(argv, cwd=_ROOT, capture_output=True, check=False, timeout=seconds + 60)
    said = done.stderr.decode(errors="backslashreplace") + done.stdout.decode(errors="backslashreplace")
    kept = {path.name: path.read_bytes() for path in scratch.iterdir()}
    assert done.returncode == 0 and not kept, f"{said[-4000:]}\n{kept}"
    assert "INITED cov:" in said  # it was guided
