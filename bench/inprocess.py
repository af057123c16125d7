"""A union of ten layers in the process beside os's own calls on a plain directory; and what more layers cost.

python -m bench.inprocess
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from bench.measure import Comparison
from bench.unions import Table
from lamina.overlay.union.union import Union

_FOLDERS = 20
_FILES = 1000  # in each folder, over all layers


def _layers(top: Path, count: int) -> list[Path]:
    layers = [top / f"{count}-{number}" for number in range(count)]
    for folder in range(_FOLDERS):
        for number in range(_FILES):
            path = layers[number % count] / f"dir{folder}" / "sub"
            path.mkdir(parents=True, exist_ok=True)
            (path / f"file{number}").touch()
    return layers


def _own_folders(top: Path, count: int) -> list[Path]:
    """Make layers each of which has folders of its own: a lookup should not notice the others."""
    layers = [top / f"own-{count}-{number}" for number in range(count)]
    for number in range(2000):
        path = layers[number % count] / f"of{number % count}"
        path.mkdir(parents=True, exist_ok=True)
        (path / f"file{number}").touch()
    return layers


def _fastest(call: Callable[[], object]) -> float:
    times = []
    for _ in range(5):
        begin = time.perf_counter()
        call()
        times.append(time.perf_counter() - begin)
    return min(times)


def _first(layers: list[Path], call: Callable[[Union], object]) -> float:
    """Return how long a call takes on a union that was just opened."""
    times = []
    for _ in range(5):
        with Union(layers) as union:
            begin = time.perf_counter()
            call(union)
            times.append(time.perf_counter() - begin)
    return min(times)


def _states(entries: Iterable[Any]) -> list[os.stat_result]:
    return [entry.stat(follow_symlinks=False) for entry in entries]


_AIMS = {
    "stat": 3.0, "scandir": 3.0, "stat, the first of each": 3.0, "scandir, the first": 3.0,
    "2,000 first lookups, 100 layers beside 2": 1.5,
}  # fmt: skip


def measure() -> list[Comparison]:
    """Compare the union in this process with the calls of `os`."""
    return _table().comparisons(_AIMS)


def _table() -> Table:
    table = Table("os")
    with tempfile.TemporaryDirectory() as folder:
        top = Path(folder)
        plain = _layers(top / "plain", 1)[0]
        folders = [f"dir{number}/sub" for number in range(_FOLDERS)]
        names = [f"{path}/file{number}" for path in folders for number in range(0, _FILES, 10)]
        full = [f"{plain}/{name}" for name in names]
        layers = _layers(top / "layers", 10)
        with Union(layers) as union:
            table.add("stat", "lamina", _fastest(lambda: [union.stat(name) for name in names]))
            table.add("scandir", "lamina", _fastest(lambda: [list(union.scandir(path)) for path in folders]))
            table.add(
                "scandir, each stat", "lamina", _fastest(lambda: [_states(union.scandir(path)) for path in folders])
            )
        every = [f"{path}/file{number}" for path in folders for number in range(_FILES)]
        table.add(
            "stat, the first of each", "lamina", _first(layers, lambda union: [union.stat(name) for name in every])
        )
        table.add(
            "scandir, the first", "lamina", _first(layers, lambda union: [[*union.scandir(path)] for path in folders])
        )
        table.add("stat", "os", _fastest(lambda: [os.stat(name) for name in full]))
        table.add("stat, the first of each", "os", _fastest(lambda: [os.stat(f"{plain}/{name}") for name in every]))
        for label in ("scandir", "scandir, the first"):
            table.add(label, "os", _fastest(lambda: [list(os.scandir(plain / path)) for path in folders]))
        table.add("scandir, each stat", "os", _fastest(lambda: [_states(os.scandir(plain / path)) for path in folders]))
        for count, label in ((2, "os"), (100, "lamina")):  # two layers are the measure for a hundred
            layers = _own_folders(top, count)
            wanted = [f"of{number % count}/file{number}" for number in range(2000)]

            def look_up(layers: list[Path] = layers, wanted: list[str] = wanted) -> None:
                with Union(layers) as union:
                    for name in wanted:
                        union.stat(name)

            table.add("2,000 first lookups, 100 layers beside 2", label, _fastest(look_up))
    return table


if __name__ == "__main__":
    _table().print()
