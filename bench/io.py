"""Data: 1 GiB written, read the first time and again, through each driver in one run.

unshare --mount --propagation private python -m bench.io [RUNS] [DRIVER…]
"""

from __future__ import annotations

import sys

from bench.unions import Table, disk, drivers, drop_caches, place_in, seconds

_WRITE = "dd if=/dev/zero of=large bs=1M count=1024 2>/dev/null"
_READ = "dd if=large of=/dev/null bs=1M 2>/dev/null"
_READ_BELOW = "dd if=below of=/dev/null bs=1M 2>/dev/null"


def main() -> None:
    """Print the table."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    table = Table("fuse-overlayfs")
    with disk() as top:
        layer = top / "layer"
        layer.mkdir()
        seconds("dd if=/dev/urandom of=below bs=1M count=1024 2>/dev/null", layer)
        for _ in range(runs):
            for driver in drivers(sys.argv[2:]):
                place = place_in(top, "place")
                with driver.mounted([layer], place) as merged:
                    table.add("write 1 GiB", driver.name, seconds(_WRITE, merged))
                    table.add("read what was written", driver.name, seconds(_READ, merged))
                drop_caches()
                with driver.mounted([layer], place) as merged:
                    seconds("cat below >/dev/null", layer)  # so that the disk is not what is measured
                    table.add("read 1 GiB first", driver.name, seconds(_READ_BELOW, merged))
                    table.add("read 1 GiB again", driver.name, seconds(_READ_BELOW, merged))
    table.print()


if __name__ == "__main__":
    main()
