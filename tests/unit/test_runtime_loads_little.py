"""What importing the start of a container loads: its time is the start-up time of every run."""

from __future__ import annotations

import subprocess
import sys

import pytest

_HEAVY = {
    "argparse", "asyncio", "contextlib", "dataclasses", "enum", "inspect", "json", "logging", "pathlib", "re",
    "selectors", "shutil", "signal", "socket", "subprocess", "tempfile", "threading", "typing", "urllib",
}  # fmt: skip


@pytest.mark.parametrize(
    "module", ["lamina.runtime.run", "lamina.runtime.launch", "lamina.runtime.host", "lamina.runtime.network"]
)
def test_nothing_heavy(module: str) -> None:
    # -S: what a virtual environment's site.py loads is not ours.
    code = (
        f"import sys; sys.path[:] = {sys.path!r}; before = set(sys.modules); import {module};"
        "print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-S", "-E", "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert module in loaded
    assert not loaded & _HEAVY
