"""Timing programs in turns."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

#: What our own results are called.
OURS = "lamina"


@dataclass(frozen=True, slots=True)
class Program:
    """A command line to time; `version` is what it says of itself."""

    name: str
    argv: list[str]
    version: str


@dataclass(frozen=True, slots=True)
class Result:
    """What one program took each time: seconds, or what the comparison counts."""

    name: str
    version: str
    argv: list[str]
    seconds: list[float]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def fastest(self) -> float:
        return min(self.seconds)

    def plain(self) -> dict[str, object]:
        """Return the result as data for JSON."""
        return {"name": self.name, "version": self.version, "argv": self.argv, "seconds": self.seconds}


@dataclass(frozen=True, slots=True)
class Comparison:
    """One thing that several programs did, in one run. Ours is called lamina; `unit` is what was counted.

    `aims` are the ratios that ours is to stay below, by the name of the other.
    """

    what: str
    results: list[Result]
    unit: str = "s"
    aims: dict[str, float] = field(default_factory=dict)

    @property
    def ours(self) -> Result:
        return next(result for result in self.results if result.name == OURS)

    def ratio(self, other: Result) -> float:
        """Return how much of the other's time ours takes."""
        return self.ours.median / other.median

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> Comparison:
        """Return the comparison that `plain` gave."""
        results = [Result(**result) for result in plain["results"]]
        return cls(plain["what"], results, unit=plain["unit"], aims=plain["aims"])

    def plain(self) -> dict[str, object]:
        """Return the comparison as data for JSON."""
        return {
            "what": self.what,
            "unit": self.unit,
            "aims": self.aims,
            "results": [result.plain() for result in self.results],
        }


def take_turns(programs: list[Program], *, rounds: int, env: dict[str, str]) -> list[Result]:
    """Run each program once a round, and once before that is not counted, where a peer that fails drops out."""
    programs = [program for program in programs if _works(program, env)]
    seconds: dict[str, list[float]] = {program.name: [] for program in programs}
    for _ in range(rounds):
        for program in programs:
            start = time.perf_counter()
            subprocess.run(program.argv, check=True, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
            seconds[program.name].append(time.perf_counter() - start)
    return [Result(program.name, program.version, program.argv, seconds[program.name]) for program in programs]


def _works(program: Program, env: dict[str, str]) -> bool:
    done = subprocess.run(program.argv, check=False, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    if done.returncode and program.name == OURS:
        raise subprocess.CalledProcessError(done.returncode, program.argv)
    if done.returncode:
        left_out(program.name, f"status {done.returncode} of {' '.join(program.argv)[:100]}")
    return done.returncode == 0


def left_out(name: str, reason: str) -> None:
    """Say that something is not measured, and why."""
    print(f"left out: {name}: {reason}", file=sys.stderr)


def version_of(program: str) -> str:
    """Return the first line of what `program --version` prints."""
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[0]


def document(name: str, comparisons: list[Comparison]) -> dict[str, object]:
    """Return what is kept of one measurement, as data for JSON."""
    return {"name": name, "machine": machine(), "comparisons": [each.plain() for each in comparisons]}


def machine() -> dict[str, object]:
    """Return what a reader has to know to compare."""
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "kernel": platform.release(),
        "processor": models[0].partition(":")[2].strip() if models else platform.machine(),
        "processors": os.cpu_count(),
        "python": platform.python_version(),
        "date": time.strftime("%Y-%m-%d"),
        "user": "root" if os.geteuid() == 0 else "ordinary",
    }
