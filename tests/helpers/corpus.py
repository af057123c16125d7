"""The corpus of whole builds: Dockerfiles with their contexts, and what BuildKit makes of them.

tests/golden/builds/AREA.cases holds the cases of an area, AREA.expected what comes of each (tests/helpers/pictures.py):

    === name-of-the-case
    What it shows.
    --- context     a shell script that fills the context
    --- parent      a Dockerfile that is built first, as parent:NAME-OF-THE-CASE
    --- Dockerfile
    --- options     words for the command

python -m tests.helpers.corpus [AREA...]    asks docker ($DOCKER, a daemon with BuildKit) and writes what it makes
"""

from __future__ import annotations

import hashlib
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.helpers.basearchive import BASE, write_base
from tests.helpers.pictures import OLD, picture

GOLDEN = Path(__file__).parents[1] / "golden" / "builds"
FAILS = "fails\n"

_TIME = 981173106  # 2001-02-03 04:05:06, of all files of a context that do not say otherwise


@dataclass(frozen=True, slots=True)
class Case:
    """One build. `options` are words for the command."""

    area: str
    name: str
    dockerfile: str
    context: str = ""
    parent: str = ""
    options: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.area}-{self.name}"

    def lay_out(self, folder: Path) -> Path:
        """Make the context in `folder`, and return it."""
        # BuildKit takes files of the same name, size and time from the last context of the same name.
        context = folder / f"context-{hashlib.sha256(repr(self).encode()).hexdigest()[:12]}"
        context.mkdir(parents=True)
        script = f"set -eu\numask 022\n{self.context}"
        subprocess.run(["sh", "-c", script], cwd=context, check=True, stdin=subprocess.DEVNULL)
        if self.dockerfile:
            (context / "Dockerfile").write_bytes(self.dockerfile.encode("utf-8", "surrogateescape"))
        for path in [*sorted(context.rglob("*"), reverse=True), context]:
            if path.lstat().st_mtime >= OLD:
                os.utime(path, (_TIME, _TIME), follow_symlinks=False)
        return context

    def lay_out_parent(self, folder: Path) -> Path:
        """Make the context of the parent in `folder`: its Dockerfile, and nothing else."""
        context = folder / f"parent-{self}"
        context.mkdir(parents=True)
        (context / "Dockerfile").write_text(self.parent)
        return context


#: Builds a case in an empty folder and returns the archive of the image. AssertionError where the build fails.
Builder = Callable[[Case, Path], Path]


def read_cases(*areas: str) -> list[Case]:
    """Return the cases of some areas, or of all."""
    paths = [GOLDEN / f"{area}.cases" for area in areas] or sorted(GOLDEN.glob("*.cases"))
    return [case for path in paths for case in _cases(path)]


def _cases(path: Path) -> Iterator[Case]:
    text = path.read_text(encoding="utf-8", errors="surrogateescape")
    for part in text.split("\n=== ")[1:]:
        name, _, rest = part.partition("\n")
        sections: dict[str, str] = {}
        for section in f"\n{rest}".split("\n--- ")[1:]:
            title, _, body = section.partition("\n")
            sections[title] = body.rstrip("\n") + "\n"
        yield Case(
            path.stem,
            name,
            dockerfile=sections.pop("Dockerfile", ""),
            context=sections.pop("context", ""),
            parent=sections.pop("parent", ""),
            options=tuple(shlex.split(sections.pop("options", ""))),
        )
        assert not sections, f"{path}: {name}: {', '.join(sections)}"


def read_expected(*areas: str) -> dict[str, str]:
    """Return what BuildKit makes of each case, by area and name: what was recorded, or else what is documented."""
    paths = [GOLDEN / f"{area}.expected" for area in areas] or sorted(GOLDEN.glob("*.expected"))
    expected = {}
    for path in paths:
        for part in path.read_text().split("\n=== ")[1:]:
            name, _, body = part.partition("\n")
            lines = body.rstrip("\n")
            expected[f"{path.stem}-{name}"] = f"{lines}\n" if lines else ""
    for part in (GOLDEN / "documented.txt").read_text().split("\n=== ")[1:]:
        name, _, body = part.partition("\n")
        expected[name] = f"{body.rstrip()}\n"
    return expected


def read_open() -> frozenset[str]:
    """Return the names of the cases in which we differ from BuildKit on purpose."""
    return read_names(GOLDEN / "open.txt")


def read_names(path: Path) -> frozenset[str]:
    """Return the lines of a file that are neither empty nor comments."""
    return frozenset(line for line in path.read_text().splitlines() if line and not line.startswith("#"))


def build_all(cases: list[Case], build: Builder, folder: Path, *, at_once: int = 2) -> dict[str, Path | None]:
    """Build the cases; return the archive that each gave, or None where the build failed."""

    def one(case: Case) -> Path | None:
        try:
            return build(case, folder / str(case))
        except AssertionError as error:
            (folder / str(case) / "error").write_text(str(error))
            return None

    with ThreadPoolExecutor(at_once) as pool:
        return dict(zip(map(str, cases), pool.map(one, cases), strict=True))


def _docker(case: Case, folder: Path) -> Path:
    context = case.lay_out(folder)
    if case.parent:
        _run(["build", "--network", "host", "-t", f"parent:{case}", "."], case.lay_out_parent(folder))
    _run(
        ["build", "--network", "host", "--no-cache", "--provenance=false", "-t", f"case:{case}", *case.options, "."],
        context,
    )
    archive = folder / "image.tar"
    _run(["save", "-o", str(archive), f"case:{case}"], context)
    return archive


def _run(words: list[str], context: Path) -> None:
    argv = [os.environ.get("DOCKER", "docker"), *words]
    done = subprocess.run(argv, cwd=context, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr


def main() -> None:
    """Write the expectations of some areas, or of all."""
    areas = sys.argv[1:] or [path.stem for path in sorted(GOLDEN.glob("*.cases"))]
    with tempfile.TemporaryDirectory() as scratch:
        base = write_base(Path(scratch) / "base.tar")
        _run(["load", "-i", str(base)], Path(scratch))
        for area in areas:
            cases = read_cases(area)
            folder = Path(scratch) / area
            built = build_all(cases, _docker, folder)
            text = f"What BuildKit makes of the cases of {area}: written by python -m tests.helpers.corpus.\n"
            for case in cases:
                archive = built[str(case)]
                if archive is None:
                    print(f"{case}: fails: {(folder / str(case) / 'error').read_text().strip()[-300:]}")
                text += f"\n=== {case.name}\n{picture(archive, base) if archive else FAILS}"
            (GOLDEN / f"{area}.expected").write_text(text)
            print(f"{area}: {len(cases)} cases, base {BASE}")


if __name__ == "__main__":
    main()
