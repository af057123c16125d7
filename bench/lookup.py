"""Names: walking, archiving, extracting and removing trees of 22,000 files in three layers, each driver in one run.

python -m bench.lookup [RUNS] [DRIVER…]
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.measure import Comparison
from bench.unions import Driver, Table, disk, drivers, drop_caches, make_layers, place_in, seconds

_WALK = "find . -printf '%s\\n'"
_ARCHIVE = "tar cf - . | cat"
_FOUR_ARCHIVES = 'for names in "d?" "d1?" "d2?" "d3?"; do (tar cf - $names | cat) & done; wait'


def _measure(driver: Driver, layers: list[Path], top: Path, archive: Path, table: Table) -> None:
    """Take every time once."""
    place = place_in(top, "place")
    for name, command in (("find", _WALK), ("tar", _ARCHIVE)):
        drop_caches()
        with driver.mounted(layers, place) as merged:
            table.add(f"{name} cold", driver.name, seconds(command, merged))
            table.add(f"{name} warm", driver.name, seconds(command, merged))
    drop_caches()
    with driver.mounted(layers, place) as merged:
        table.add("four tars at once, cold", driver.name, seconds(_FOUR_ARCHIVES, merged))
    with driver.mounted(layers, place) as merged:
        (merged / "new").mkdir()
        table.add("extract", driver.name, seconds(f"tar xf {archive} -C new", merged))
        table.add("rm extracted", driver.name, seconds("rm -rf new", merged))
        table.add("rm lower", driver.name, seconds("rm -rf d1? d2?", merged))


def run(runs: int = 3, wanted: Sequence[str] = ()) -> Table:
    """Measure the drivers that are wanted, or the usual ones."""
    table = Table("fuse-overlayfs")
    with disk() as top:
        layers = make_layers(top)
        archive = top / "tree.tar"
        subprocess.run(["tar", "cf", str(archive), "-C", str(layers[0]), ".", "-C", str(layers[1]), "."], check=True)
        subprocess.run(["tar", "rf", str(archive), "-C", str(layers[2]), "."], check=True)
        for _ in range(runs):
            for driver in drivers(wanted):
                _measure(driver, layers, top, archive, table)
    return table


def readers(runs: int = 3) -> Table:
    """Measure four readers of disjoint trees at once, served by one thread and by as many as are usual."""
    table = Table("lamina-one")
    with disk() as top:
        layers = make_layers(top)
        for _ in range(runs):
            for driver in drivers(["lamina-one", "lamina"]):
                drop_caches()
                with driver.mounted(layers, place_in(top, "place")) as merged:
                    table.add("four tars at once, cold", driver.name, seconds(_FOUR_ARCHIVES, merged))
    return table


def measure() -> list[Comparison]:
    """Compare all drivers, and our own with one thread."""
    aims = {
        "find cold": 0.65, "find warm": 1.0, "tar cold": 0.5, "tar warm": 0.4, "extract": 0.45, "rm extracted": 0.5,
        "rm lower": 0.5,
    }  # fmt: skip
    return [*run().comparisons(aims), *readers().comparisons({"four tars at once, cold": 0.65})]


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    run(count, sys.argv[2:]).print()
    readers(count).print()
