"""Programs at work in a union: git in a large repository, and the compile of a C project, each driver in one run.

python -m bench.work [RUNS] [DRIVER…]
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.measure import Comparison
from bench.unions import Table, disk, drivers, drop_caches, place_in, seconds

_REPOSITORY_FILES = 20_000
_SOURCES, _FUNCTIONS = 100, 60

_STATUS = "git status --porcelain"
_COMPILE = "make -s -j2 program && ./program"


def make_repository(layer: Path) -> None:
    """Make a git repository of many small files, all of them committed."""
    for number in range(_REPOSITORY_FILES):
        folder = layer / f"part{number % 40}" / f"module{number % 800}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"source{number}.txt").write_bytes(b"line %d\n" % number * (number % 60 + 1))
    env = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}
    who = ["-c", "user.name=bench", "-c", "user.email=bench@localhost"]
    for words in (["init", "-q"], ["add", "."], [*who, "commit", "-q", "-m", "all"]):
        subprocess.run(["git", *words], cwd=layer, env=env, check=True)


def make_project(layer: Path) -> None:
    """Make a C project: sources that share headers and the C library's, and a makefile."""
    layer.mkdir()
    (layer / "include").mkdir()
    names = range(_SOURCES)
    for name in names:
        declared = "".join(f"int f{name}_{number}(int);\n" for number in range(_FUNCTIONS))
        (layer / "include" / f"part{name}.h").write_text(f"#pragma once\n{declared}")
        body = "".join(
            f"int f{name}_{number}(int x) {{ int s = {number}; for (int i = 0; i < x; i++) s += i * x; return s; }}\n"
            for number in range(_FUNCTIONS)
        )
        used = "".join(f'#include "part{other}.h"\n' for other in range(max(0, name - 20), name + 1))
        (layer / f"part{name}.c").write_text(f"#include <stdio.h>\n#include <stdlib.h>\n{used}{body}")
    calls = " + ".join(f"f{name}_0(0)" for name in names)
    includes = "".join(f'#include "part{name}.h"\n' for name in names)
    (layer / "main.c").write_text(f"{includes}int main(void) {{ return {calls}; }}\n")
    objects = " ".join(f"part{name}.o" for name in names)
    rules = "%.o: %.c\n\t$(CC) -O1 -Iinclude -c -o $@ $<\n"
    (layer / "Makefile").write_text(f"program: main.o {objects}\n\t$(CC) -o $@ $^\n{rules}")


def statuses(runs: int = 3, wanted: Sequence[str] = ()) -> Table:
    """Measure `git status` with nothing in the caches, and again."""
    table = Table("fuse-overlayfs")
    with disk() as top:
        layers = [top / "repository", top / "empty"]
        make_repository(layers[0])
        layers[1].mkdir()
        for _ in range(runs):
            for driver in drivers(wanted):
                drop_caches()
                with driver.mounted(layers, place_in(top, "place")) as merged:
                    table.add("git status cold", driver.name, seconds(_STATUS, merged))
                    table.add("git status again", driver.name, seconds(_STATUS, merged))
    return table


def compiles(runs: int = 3, wanted: Sequence[str] = ()) -> Table:
    """Measure the compile of the project, whose sources are in the lower layer."""
    table = Table("kernel")
    with disk() as top:
        layers = [top / "project", top / "empty"]
        make_project(layers[0])
        layers[1].mkdir()
        for number in range(runs + 1):
            for driver in drivers(wanted):
                with driver.mounted(layers, place_in(top, "place")) as merged:
                    taken = seconds(_COMPILE, merged)
                if number:  # the first loads the compiler
                    table.add("compile of a C project", driver.name, taken)
    return table


def measure() -> list[Comparison]:
    """Compare all drivers."""
    found = statuses().comparisons({"git status cold": 0.6, "git status again": 0.6})
    return [*found, *compiles().comparisons({"compile of a C project": 1.15})]


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    statuses(count, sys.argv[2:]).print()
    compiles(count, sys.argv[2:]).print()
