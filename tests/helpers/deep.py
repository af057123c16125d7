"""A layer deeper than Python's stack, whose paths are longer than the kernel takes."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NAME = "deep"


@contextmanager
def deep_stack(top: Path, depth: int) -> Iterator[None]:
    """Make in `top` layer/tree, where a file lies that deep, upper and work; all is removed at the end."""
    for name in ("layer/tree", "upper", "work"):
        (top / name).mkdir(parents=True)
    here = os.open(top / "layer/tree", os.O_RDONLY | os.O_DIRECTORY)
    for _ in range(depth):
        os.mkdir(NAME, dir_fd=here)
        below = os.open(NAME, os.O_RDONLY | os.O_DIRECTORY, dir_fd=here)
        os.close(here)
        here = below
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, 0o644, dir_fd=here))
    os.close(here)
    yield
    subprocess.run(["rm", "-rf", *top.iterdir()], check=True)  # Python's own removal is recursive before 3.13
