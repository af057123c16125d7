"""Whole Dockerfiles: what they are understood as, why they are refused, what the build checks find.

tests/golden/dockerfile has a folder for each. `python -m tests.helpers.dockerfiles` writes what is expected anew.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lamina.build.dockerfile.parse import parse
from lamina.build.dockerfile.print import print_dockerfile
from lamina.build.dockerfile.rules import RULES
from tests.helpers.dockerfiles import GOLDEN, expectations

_ALL = list(expectations())


def _name(value: object) -> str:
    return "-".join(value.relative_to(GOLDEN).parts[:-1]) if isinstance(value, Path) else ""


@pytest.mark.parametrize(("path", "text"), _ALL, ids=_name)
def test_golden(path: Path, text: str) -> None:
    assert text == path.read_text(encoding="utf-8", errors="surrogateescape")


@pytest.mark.parametrize("folder", sorted((GOLDEN / "good").iterdir()), ids=lambda folder: folder.name)
def test_what_is_in_order_prints_and_parses_again(folder: Path) -> None:
    dockerfile = parse((folder / "Dockerfile").read_bytes())
    assert parse(print_dockerfile(dockerfile)) == dockerfile


def test_what_is_refused_is_refused() -> None:
    assert all(text for path, text in _ALL if path.name == "refused")


def test_each_check_is_found_somewhere_and_described() -> None:
    found = "\n".join(text for path, text in _ALL if path.name == "found")
    page = (GOLDEN.parents[2] / "docs" / "reference" / "build-checks.md").read_text()
    for rule in RULES:
        assert f": {rule.name}: " in found
        assert f"\n## {rule.name}\n" in page


def test_the_example_of_the_page_runs() -> None:
    page = (GOLDEN.parents[2] / "docs" / "reference" / "dockerfile.md").read_text()
    (program,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(compile(program, "dockerfile.md", "exec"), {})
