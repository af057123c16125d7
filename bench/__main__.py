"""Measure lamina beside the peers that are installed, and keep the results with the machine and the versions.

    python -m bench [NAME...]       measure (all, by default), and write docs/benchmarks.md anew
    python -m bench --list          what can be measured

A result is a ratio from one run: programs take turns, so that what else the machine does meets all of them alike. What
mounts is measured for root alone, who gets a mount namespace of its own for all of it.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import build, inprocess, io, load, lookup, memory, pull, startup, unpack, work
from bench.measure import Comparison, document, left_out
from bench.report import write_report
from bench.unions import own_mounts

#: What can be measured, in the order of the report.
BENCHES: dict[str, Callable[[], list[Comparison]]] = {
    "startup": startup.measure,
    "names": lookup.measure,
    "data": io.measure,
    "work": work.measure,
    "build": build.measure,
    "load": load.measure,
    "unpack": unpack.measure,
    "pull": pull.measure,
    "inprocess": inprocess.measure,
    "memory": memory.measure,
}

#: What mounts, which root alone may do for all.
AS_ROOT = {"names", "data", "work", "build", "load", "unpack", "pull", "memory"}

RESULTS = Path(__file__).parent / "results"


def main(words: list[str]) -> int:
    """Run the named measurements, or all."""
    if words == ["--list"]:
        print("\n".join(BENCHES))
        return 0
    if unknown := [name for name in words if name not in BENCHES]:
        raise SystemExit(f"no such measurement: {', '.join(unknown)}; there are {', '.join(BENCHES)}")
    RESULTS.mkdir(exist_ok=True)
    root = os.geteuid() == 0
    if root:
        own_mounts()
    failed = False
    for name in words or [name for name in BENCHES if root or name not in AS_ROOT]:
        try:
            _measure(name, root=root)
        except (Exception, SystemExit) as error:  # noqa: BLE001  # the others are measured nevertheless
            left_out(name, f"{type(error).__name__}: {error}")
            failed = True
    write_report(RESULTS, Path(__file__).parent.parent / "docs")
    return 1 if failed else 0


def _measure(name: str, *, root: bool) -> None:
    comparisons = BENCHES[name]()
    _keep(document(name, comparisons), comparisons)
    if root and name == "startup" and (kept := startup.measure_for_user()):
        _keep(kept, [Comparison.from_plain(plain) for plain in kept["comparisons"]])


def _keep(kept: dict[str, Any], comparisons: list[Comparison]) -> None:
    """Show and keep one measurement."""
    who = "root" if kept["machine"]["user"] == "root" else "user"
    for comparison in comparisons:
        print("\n".join(_lines(comparison)), flush=True)
    (RESULTS / f"{kept['name']}-{who}.json").write_text(json.dumps(kept, indent=1) + "\n")


def _lines(comparison: Comparison) -> list[str]:
    lines = [comparison.what]
    for result in comparison.results:
        ratio = comparison.ratio(result)
        aim = comparison.aims.get(result.name)
        said = f" (aim {aim:g})" if aim else ""
        lines.append(
            f"  {result.name:<24}{result.median:10.4f} {comparison.unit}  {ratio:6.2f}{said}  {result.version}"
        )
    return lines


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
