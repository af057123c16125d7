"""The examples of a document: its console and Python blocks, read and run.

A console block holds `$ command` lines (a `> ` line continues one), each followed by what it prints on a terminal;
`...` stands for anything, also for several lines. Comments before a block direct it:

    <!-- requires: WORD ... -->       it is for those who have that (words of tests/needs.txt)
    <!-- run instead: COMMAND -->     in place of its first command, what makes the same quicker
    <!-- not run: REASON -->          it is there to be read
"""

from __future__ import annotations

import difflib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_BLOCK = re.compile(r"(?P<comments>(?:^<!-- .*? -->\n+)*)^```(?P<kind>\w+)\n(?P<body>.*?)^```$", re.M | re.S)
_END = "\x1e"  # parts the output of one command from the next one's; no document has it


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block; `line` is where it begins in its document."""

    kind: str
    line: int
    body: str
    requires: tuple[str, ...]
    instead: str
    is_run: bool


@dataclass(frozen=True, slots=True)
class Step:
    """A command, and the lines that the document shows below it."""

    line: int
    command: str
    expected: str


def blocks(text: str) -> Iterator[Block]:
    """Yield the blocks of a document in order."""
    for match in _BLOCK.finditer(text):
        comments = match["comments"]
        requires = re.search(r"<!-- requires: (.*?) -->", comments)
        instead = re.search(r"<!-- run instead: (.*?) -->", comments)
        yield Block(
            kind=match["kind"],
            line=text.count("\n", 0, match.start("body")) + 1,
            body=match["body"],
            requires=tuple(requires[1].split()) if requires else (),
            instead=instead[1] if instead else "",
            is_run="<!-- not run: " not in comments,
        )


def steps(block: Block) -> list[Step]:
    """Return the commands of a console block."""
    found: list[Step] = []
    for number, line in enumerate(block.body.splitlines(), block.line):
        if line.startswith("$ "):
            found.append(Step(number, line[2:], ""))
        elif line.startswith("> ") and found and not found[-1].expected:
            found[-1] = Step(found[-1].line, f"{found[-1].command}\n{line[2:]}", "")
        elif found:
            found[-1] = Step(found[-1].line, found[-1].command, f"{found[-1].expected}{line}\n")
        else:
            raise ValueError(f"line {number}: a console block begins with a command: {line}")
    if block.instead and found:
        found[0] = Step(found[0].line, block.instead, "...\n")
    return found


def run_console(todo: list[Step], home: Path, env: dict[str, str]) -> list[str]:
    """Run the commands in one shell; return for each that printed something else what differs."""
    script = "".join(f"eval {_quoted(step.command)} 2>&1\nprintf '\\036'\n" for step in todo)
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=home,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=600,
    )
    said = done.stdout.decode(errors="backslashreplace").split(_END)
    wrong = []
    for step, output in zip(todo, said, strict=False):
        if not matches(step.expected, output):
            wanted = step.expected.splitlines(), output.splitlines()
            difference = "\n".join(difflib.unified_diff(*wanted, "the document", "the command", lineterm=""))
            wrong.append(f"line {step.line}: $ {step.command}\n{difference}")
    if len(said) <= len(todo):
        wrong.append(f"the shell ended at: {todo[len(said) - 1].command}\n{done.stderr.decode(errors='replace')}")
    return wrong


def matches(expected: str, output: str) -> bool:
    """Return whether the output is what the document shows, where `...` stands for anything."""
    pattern = "".join(
        r"(?:.*\n)*" if line == "...\n" else re.escape(line).replace(re.escape("..."), ".*")
        for line in expected.splitlines(keepends=True)
    )
    trimmed = "".join(f"{line.rstrip()}\n" for line in output.splitlines())
    return re.fullmatch(pattern, trimmed) is not None


def run_python(bodies: list[str], home: Path, env: dict[str, str]) -> str:
    """Run the Python blocks of a document as one program; return what went wrong, or nothing."""
    program = home / "document.py"
    program.write_text("\n".join(bodies))
    done = subprocess.run(
        [sys.executable, "-W", "error", str(program)], cwd=home, env=env, capture_output=True, text=True, check=False
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr


def links(text: str) -> list[str]:
    """Return the files of this repository that a document links to."""
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)\s]*)?\)", text)
    return [target for target in targets if "://" not in target]


def environment(home: Path, store: Path) -> dict[str, str]:
    """Return the environment of a reader's shell, with the tested command first on PATH."""
    kept = ("LOGNAME", "TMPDIR", "USER", "BASE_TAR", "PYTHONPATH")
    return {
        **{name: os.environ[name] for name in kept if name in os.environ},
        "HOME": str(home),
        "LAMINA_ROOT": str(store),
        "LANG": "C.UTF-8",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
