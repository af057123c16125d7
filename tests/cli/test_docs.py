"""The examples in the documentation do what it shows, for root and for ordinary users."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers import documents, probes
from tests.helpers.command import Lamina
from tests.helpers.trees import remove_tree

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "docs" / "tour.md", *sorted((ROOT / "docs" / "guide").glob("*.md"))]
EXAMPLES = [
    pytest.param(path, marks=pytest.mark.requires("fuse", "fusermount3")) if path.name == "layers.py" else path
    for path in sorted((ROOT / "examples").glob("*.[ps][yh]"))
]


def is_for_us(block: documents.Block) -> bool:
    """Return whether whoever runs the tests can run the block; in CI nobody may lack what needs.txt lists."""
    for word in block.requires:
        if reason := probes.why_not(word):
            must = os.environ.get("CI") and probes.who() in probes.needs()[word]
            assert not must, f"CI must have {word} here: {reason}"
            return False
    return block.is_run


@pytest.fixture
def home(scratch: Path) -> Iterator[Path]:
    """Return a directory where a reader would type: in the own home, if overlayfs takes it for an upper."""
    base = Path.home()
    if not os.access(base, os.W_OK) or probes.overlay_on(str(base)):
        base = scratch
    path = tempfile.mkdtemp(prefix="lamina-docs-", dir=base)
    yield Path(path)
    remove_tree(path)


@pytest.mark.requires("userns", "overlay", "bash")
@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_document(path: Path, lamina: Lamina, home: Path) -> None:
    env = documents.environment(home, lamina.store)
    ours = [block for block in documents.blocks(path.read_text()) if is_for_us(block)]
    todo = [step for block in ours if block.kind == "console" for step in documents.steps(block)]
    wrong = documents.run_console(todo, home, env) if todo else []
    assert not wrong, "\n\n".join(wrong)
    if bodies := [block.body for block in ours if block.kind == "python"]:
        said = documents.run_python(bodies, home, env)
        assert not said, said


@pytest.mark.requires("userns", "overlay")
@pytest.mark.parametrize("path", EXAMPLES, ids=str)
def test_example(path: Path, lamina: Lamina, scratch: Path) -> None:
    env = documents.environment(scratch, lamina.store)
    interpreter = sys.executable if path.suffix == ".py" else "sh"
    subprocess.run([interpreter, str(path)], cwd=scratch, env=env, check=True, timeout=300)
