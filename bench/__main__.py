"""Measure lamina beside the peers that are installed, and keep the result with the machine and the versions.

    python -m bench [NAME...]

A result is a ratio from one run: programs take turns, so that what else the machine does meets all of them alike.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from bench import startup
from bench.measure import Result, machine

BENCHES = {"startup": startup.measure}
RESULTS = Path(__file__).parent / "results"


def main(names: list[str]) -> int:
    """Run the named measurements, or all."""
    if unknown := [name for name in names if name not in BENCHES]:
        raise SystemExit(f"no such measurement: {', '.join(unknown)}; there are {', '.join(BENCHES)}")
    RESULTS.mkdir(exist_ok=True)
    for name in names or BENCHES:
        results = BENCHES[name]()
        print(f"{name}: milliseconds, median (fastest); ratio to lamina")
        for result in results:
            print(f"  {_line(result, results[0])}")
        document = {"name": name, "machine": machine(), "results": [result.plain() for result in results]}
        (RESULTS / f"{name}-{'root' if os.geteuid() == 0 else 'user'}.json").write_text(json.dumps(document, indent=2))
    return 0


def _line(result: Result, ours: Result) -> str:
    ratio = result.median / ours.median
    return f"{result.name:<14}{result.median * 1000:8.1f} ({result.fastest * 1000:.1f})  {ratio:5.2f}  {result.version}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
