"""Measure lamina beside the peers that are installed, and keep the result with the machine and the versions.

    python -m bench [NAME...]

A result is a ratio from one run: programs take turns, so that what else the machine does meets all of them alike.
What mounts is measured for root alone, in a mount namespace of its own.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

from bench import io, lookup, startup, work
from bench.measure import Result, machine

BENCHES: dict[str, Callable[[], list[Result] | dict[str, list[Result]]]] = {
    "startup": startup.measure,
    "names": lookup.measure,
    "data": io.measure,
    "work": work.measure,
}
AS_ROOT = {"names", "data", "work"}
RESULTS = Path(__file__).parent / "results"


def main(names: list[str]) -> int:
    """Run the named measurements, or all."""
    if unknown := [name for name in names if name not in BENCHES]:
        raise SystemExit(f"no such measurement: {', '.join(unknown)}; there are {', '.join(BENCHES)}")
    RESULTS.mkdir(exist_ok=True)
    root = os.geteuid() == 0
    for name in names or [name for name in BENCHES if root or name not in AS_ROOT]:
        found = BENCHES[name]()
        groups = found if isinstance(found, dict) else {name: found}
        for title, results in groups.items():
            print(f"{title}: milliseconds, median (fastest); ratio to lamina")
            for result in results:
                print(f"  {_line(result, results[0])}")
        rows = [{"measure": title, **result.plain()} for title, results in groups.items() for result in results]
        document = {"name": name, "machine": machine(), "results": rows}
        (RESULTS / f"{name}-{'root' if root else 'user'}.json").write_text(json.dumps(document, indent=2))
    return 0


def _line(result: Result, ours: Result) -> str:
    ratio = result.median / ours.median
    return f"{result.name:<14}{result.median * 1000:8.1f} ({result.fastest * 1000:.1f})  {ratio:5.2f}  {result.version}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
