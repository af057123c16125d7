"""Timing shell commands in turns, each with an empty directory of its own."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(slots=True)
class Peer:
    """A command in which {0} stands for its directory; `version` is one that prints it, or ""."""

    name: str
    command: str
    version: str
    seconds: list[float] = field(default_factory=list)


def take_turns(peers: list[Peer], top: Path, *, rounds: int) -> list[Peer]:
    """Run each once a round, and once before that is not counted."""
    for number in range(rounds + 1):
        for peer in peers:
            directory = top / f"{peer.name.replace(' ', '')}{number}"
            directory.mkdir()
            start = time.perf_counter()
            subprocess.run(
                ["sh", "-c", peer.command.format(directory)],
                check=True,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
            if number:
                peer.seconds.append(time.perf_counter() - start)
            # Not shutil.rmtree: what a program has left running may still remove files of its own.
            subprocess.run(["rm", "-rf", str(directory)], check=True)
            os.sync()  # what one has left to write is not the next one's burden
    return peers


def print_table(peers: list[Peer], *, reference: str) -> None:
    """Print medians and ratios."""
    print(f"Linux {platform.release()}, Python {platform.python_version()}")
    (base,) = [statistics.median(peer.seconds) for peer in peers if peer.name == reference]
    for peer in peers:
        median = statistics.median(peer.seconds)
        version = _first_line(peer.version) if peer.version else ""
        print(f"{peer.name:<16}{median:8.2f} s {median / base:6.2f}  {version}")


def _first_line(command: str) -> str:
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[0]
