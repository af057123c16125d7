"""Rules about the source that no linter of the project can say."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.heavy import HEAVY

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "lamina"
TESTS = ROOT / "tests"
MODULES = sorted(PACKAGE.rglob("*.py"))
TEST_MODULES = sorted(TESTS.rglob("*.py"))

#: Where a container's start begins; what these load when they are imported, every `lamina run` loads.
STARTS = ("lamina.cli.main", "lamina.cli.commands.run", "lamina.runtime.launch")


def name_of(path: Path) -> str:
    """Return the dotted name of a module of the package."""
    parts = path.relative_to(ROOT / "src").with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def loaded_on_import(path: Path) -> Iterator[str]:
    """Yield the modules that importing this one imports: not those within functions or `if TYPE_CHECKING`."""
    pending: list[ast.AST] = [ast.parse(path.read_bytes())]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            pending += node.orelse
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            pending += ast.iter_child_nodes(node)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_module(path: Path) -> None:
    text = path.read_text()
    tree = ast.parse(text)
    assert ast.get_docstring(tree), "a module says what it is for"
    assert len(text.splitlines()) <= 600, "ask what two things it does"
    if not name_of(path).startswith("lamina.linux"):
        assert "ctypes" not in {name.split(".")[0] for name in imported_anywhere(tree)}, "ctypes lives in lamina.linux"
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.Global)], "no mutable module state"


def imported_anywhere(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def test_nothing_heavy_on_the_way_to_a_container() -> None:
    paths = {name_of(path): path for path in MODULES}
    pending = [(name, name) for name in STARTS if name in paths]
    seen: set[str] = set()
    heavy = []
    while pending:
        name, way = pending.pop()
        if name.split(".")[0] in HEAVY:
            heavy.append(way)
        if name in seen or name not in paths:
            continue
        seen.add(name)
        parents = [".".join(name.split(".")[:count]) for count in range(1, name.count(".") + 1)]
        pending += [(parent, f"{way} -> {parent}") for parent in parents]
        pending += [(loaded, f"{way} -> {loaded}") for loaded in loaded_on_import(paths[name])]
    assert not heavy, "\n".join(sorted(heavy))


_IMPORT_ALL = """
import os, sys
pythons = tuple(os.path.realpath(path) for path in (sys.prefix, sys.base_prefix, *sys.path) if path)
def look(event, arguments):
    if event == "open":
        path = arguments[0]
        if isinstance(path, str) and not path.endswith((".py", ".pyc", ".so")) and not path.startswith(pythons):
            sys.exit(f"opens {path}")
    elif event.startswith(("subprocess.", "socket.", "os.fork", "os.exec", "os.posix_spawn", "os.putenv", "shutil.")):
        sys.exit(f"{event} {arguments}")
import importlib
import urllib3  # which tries IPv6 when it is imported
sys.addaudithook(look)
for name in sys.argv[1:]:
    importlib.import_module(name)
"""


def test_importing_does_nothing() -> None:
    names = [name_of(path) for path in MODULES if path.stem != "__main__"]
    subprocess.run([sys.executable, "-c", _IMPORT_ALL, *names], check=True)


@pytest.mark.parametrize("path", MODULES + TEST_MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_exemptions_have_a_code_and_a_reason(path: Path) -> None:
    if path == Path(__file__):
        return
    lines = path.read_text().splitlines()
    for number, line in enumerate(lines, 1):
        if found := re.search(r"# *(noqa|type: *ignore)(.*)", line):
            assert re.match(r": [A-Z]+\d+|\[[a-z]", found[2]), f"{path.name}:{number}: what is exempted?"
            above = lines[max(number - 3, 0) : number - 1]
            reasons = ["  # " in found[2], *(earlier.lstrip().startswith("#") for earlier in above)]
            assert any(reasons), f"{path.name}:{number}: no reason: {line.strip()}"


@pytest.mark.parametrize("path", TEST_MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_tests_are_honest(path: Path) -> None:
    if path == Path(__file__):
        return
    text = path.read_text()
    assert ast.get_docstring(ast.parse(text)), "a test module says what it shows"
    where = path.relative_to(TESTS).as_posix()
    if where != "helpers/wait.py":
        assert "time.sleep" not in text, "poll with a deadline: tests.helpers.wait.until"
    if where != "conftest.py":
        assert not re.search(r"pytest\.(skip|xfail|importorskip)|mark\.(skip|xfail)", text), "say requires(...)"
    assert "unittest.mock" not in text, "test the real thing"
    assert not re.search(r"monkeypatch\.setattr\(\s*[\"']?lamina", text), "our own functions are not replaced"
