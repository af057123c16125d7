"""Reading the examples of a document, so that none is silently left out."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.documents import blocks, links, matches, run_console, steps

ROOT = Path(__file__).parents[2]
TEXT = """
<!-- requires: root userns -->
```console
$ echo one
one
$ echo two \\
>   three
two three
```

```python
x = 1
```

<!-- not run: it takes long -->
```console
$ sleep 1000
```
<!-- run instead: true -->

```console
$ false
nothing
```
"""


def test_blocks_and_steps() -> None:
    first, second, third, fourth = blocks(TEXT)
    assert (first.requires, first.is_run, first.kind, first.line) == (("root", "userns"), True, "console", 4)
    assert [(step.line, step.command, step.expected) for step in steps(first)] == [
        (4, "echo one", "one\n"),
        (6, "echo two \\\n  three", "two three\n"),
    ]
    assert (second.kind, second.body) == ("python", "x = 1\n")
    assert not third.is_run
    assert [step.command for step in steps(fourth)] == ["true"]


def test_a_block_without_a_command_is_refused() -> None:
    (block,) = blocks("```console\nnot a command\n```\n")
    with pytest.raises(ValueError, match="line 2"):
        steps(block)


@pytest.mark.parametrize(
    ("expected", "output", "same"),
    [
        ("a\n", "a\n", True),
        ("a\n", "b\n", False),
        ("a\n", "", False),
        ("", "a\n", False),
        ("a ... c\n", "a b c\n", True),
        ("...\n", "", True),
        ("a\n...\nd\n", "a\nb\nc\nd\n", True),
        ("a\n...\nd\n", "a\nb\nc\n", False),
        ("a.c\n", "abc\n", False),
    ],
)
def test_what_matches(expected: str, output: str, same: bool) -> None:
    assert matches(expected, output) is same


def test_a_wrong_example_is_told(tmp_path: Path) -> None:
    (block,) = blocks("```console\n$ cd /; pwd\n/\n$ pwd; echo oh >&2; false\n/\n```\n")
    (wrong,) = run_console(steps(block), tmp_path, {"PATH": "/usr/bin:/bin"})
    assert wrong.startswith("line 4: $ pwd") and "+oh" in wrong


def test_links_of_the_documentation_lead_somewhere() -> None:
    for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").glob("*.md")):
        for target in links(path.read_text()):
            assert (path.parent / target).exists(), f"{path.relative_to(ROOT)}: {target}"


def test_the_examples_are_all_listed() -> None:
    folder = ROOT / "examples"
    listed = {folder / target for target in links((folder / "README.md").read_text())}
    projects = {folder / path.relative_to(folder).parts[0] for path in folder.rglob("Dockerfile")}
    assert projects == {folder / path.relative_to(folder).parts[0] for path in listed if path.name == "Dockerfile"}
    assert set(folder.glob("*.[ps][yh]")) <= listed


def test_the_index_of_decisions_is_complete() -> None:
    index = ROOT / "docs" / "decisions" / "README.md"
    for page in index.parent.glob("0*.md"):
        number, title = page.read_text().splitlines()[0].removeprefix("# ").split(". ", 1)
        assert f"| [{number}]({page.name}) | {title} |" in index.read_text()


def test_links() -> None:
    assert links("[a](b.md#c) [d](https://example.org/e) [f](../g)") == ["b.md", "../g"]
