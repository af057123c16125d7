"""Timing shell commands in turns, each with an empty directory of its own, and how much memory they take."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench.measure import OURS, Comparison, Result, left_out

#: The shell command that runs this checkout's `lamina`.
LAMINA = f"{sys.executable} -m lamina"

_LIMIT = 200


@dataclass(frozen=True, slots=True)
class Peer:
    """A command in which {0} stands for its directory; `after` undoes, untimed, what it did elsewhere."""

    name: str
    command: str
    version: str = ""
    env: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    after: str = ""


def compare(what: str, peers: list[Peer], top: Path, *, rounds: int, aims: dict[str, float]) -> list[Comparison]:
    """Run each once a round, and once before that is not counted; return the times, and the memory that ours takes.

    A peer that fails drops out. The memory is what the largest of its processes had resident at most.
    """
    seconds: dict[str, list[float]] = {peer.name: [] for peer in peers}
    memory: list[float] = []
    for number in range(rounds + 1):
        for peer in tuple(peers):
            directory = top / f"{peer.name.replace(' ', '').replace(',', '-')}{number}"
            directory.mkdir()
            try:
                taken, most = _run(peer.command.format(directory), peer.env)
            except subprocess.CalledProcessError as error:
                if peer.name == OURS:
                    raise
                left_out(peer.name, f"status {error.returncode} of {peer.command[:100]}")
                peers = [other for other in peers if other is not peer]
                continue
            if number:
                seconds[peer.name].append(taken)
                memory += [most] if peer.name == OURS else []
            # Not shutil.rmtree: what a program has left running may still remove files of its own.
            _run(f"rm -rf {directory}; {peer.after}", peer.env)
            os.sync()  # what one has left to write is not the next one's burden
    results = [Result(peer.name, peer.version, [peer.command], seconds[peer.name]) for peer in peers]
    ours = next(peer for peer in peers if peer.name == OURS)
    return [
        Comparison(what, results, aims=aims),
        Comparison(f"{what}: memory, at most {_LIMIT}", [Result(OURS, "", [ours.command], memory)], unit="MiB"),
    ]


def _run(command: str, env: Mapping[str, str]) -> tuple[float, float]:
    """Run a shell command; return its seconds, and the largest resident size of one of its processes in MiB."""
    argv = [sys.executable, "-I", str(Path(__file__).with_name("child.py")), command]
    done = subprocess.run(argv, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=True)
    seconds, size = done.stdout.split()
    return float(seconds), int(size) / 1024
