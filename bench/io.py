"""Data: 1 GiB written, read the first time and again, through each driver in one run.

python -m bench.io [RUNS] [DRIVER…]
"""

from __future__ import annotations

import os
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bench.measure import OURS, Comparison
from bench.unions import LENDING, USUAL, Table, disk, drivers, drop_caches, place_in, seconds

_WRITE = "dd if=/dev/zero of=large bs=1M count=1024 2>/dev/null"
_READ = "dd if=large of=/dev/null bs=1M 2>/dev/null"
_PAGE = 4096
_FIRST_LENT = "read 1 GiB first, ours with passthrough"
# What the first reading is told as, by the driver: ours is two comparisons.
_PEERS = {name: name for name in ("kernel", "fuse-overlayfs", "fuse-overlayfs-threaded")}
_FIRST = {"read 1 GiB first": {**_PEERS, OURS: OURS}, _FIRST_LENT: {**_PEERS, LENDING: OURS}}
_RANDOM = "100,000 random reads of 4 KiB, warm"
_READ_BELOW = "dd if=below of=/dev/null bs=1M 2>/dev/null"


def run(runs: int = 3, wanted: Sequence[str] = ()) -> Table:
    """Measure the drivers that are wanted, or the usual ones."""
    table = Table("fuse-overlayfs")
    with disk() as top:
        layer = top / "layer"
        layer.mkdir()
        seconds("dd if=/dev/urandom of=below bs=1M count=1024 2>/dev/null", layer)
        for _ in range(runs):
            for driver in drivers(wanted or (*USUAL, LENDING)):
                place = place_in(top, "place")
                if driver.name != LENDING:
                    with driver.mounted([layer], place) as merged:
                        table.add("write 1 GiB", driver.name, seconds(_WRITE, merged))
                        table.add("read what was written", driver.name, seconds(_READ, merged))
                drop_caches()
                with driver.mounted([layer], place) as merged:
                    seconds("cat below >/dev/null", layer)  # so that the disk is not what is measured
                    first = seconds(_READ_BELOW, merged)
                    for what, names in _FIRST.items():
                        if driver.name in names:
                            table.add(what, names[driver.name], first)
                    if driver.name != LENDING:
                        table.add("read 1 GiB again", driver.name, seconds(_READ_BELOW, merged))
                        table.add(_RANDOM, driver.name, _read_here_and_there(merged / "below"))
    return table


def _read_here_and_there(path: Path) -> float:
    """Return how long reads at random places of a file take, whose pages are in memory."""
    chance = random.Random(1)
    fd = os.open(path, os.O_RDONLY)
    try:
        pages = os.fstat(fd).st_size // _PAGE
        places = [chance.randrange(pages) * _PAGE for _ in range(100_000)]
        begin = time.monotonic()
        for place in places:
            os.pread(fd, _PAGE, place)
        return time.monotonic() - begin
    finally:
        os.close(fd)


def measure() -> list[Comparison]:
    """Compare all drivers."""
    aims = {"write 1 GiB": 0.7, _FIRST_LENT: 0.3, _RANDOM: 1.0}
    return run().comparisons(aims)


if __name__ == "__main__":
    run(int(sys.argv[1]) if len(sys.argv) > 1 else 3, sys.argv[2:]).print()
