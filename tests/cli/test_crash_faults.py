"""System calls that fail, one after the other, in every command that changes a store.

strace(1) makes the call fail in the running command. The command ends with one line, nothing that was reported is
lost, no process or mount stays, and the same command then succeeds.
"""

from __future__ import annotations

import os
import random
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.command import Lamina, program
from tests.helpers.work import NAMES, Bench, bench

pytestmark = pytest.mark.requires("overlay", "userns", "strace")

SEED = int(os.environ.get("CRASH_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 30)
FAULTS = 40 if os.environ.get("HYPOTHESIS_PROFILE") == "long" else 3

#: Calls that change files, mounts and processes, and the errors that each may meet. The start of an interpreter
#: makes none of them.
CALLS = {
    "mkdir,mkdirat": ("ENOSPC", "EIO", "EPERM"),
    "rename,renameat,renameat2": ("ENOSPC", "EIO", "EPERM"),
    "link,linkat,symlink,symlinkat": ("ENOSPC", "EIO", "EPERM"),
    "unlink,unlinkat,rmdir": ("EIO", "EPERM"),
    "fsync,fdatasync,syncfs": ("ENOSPC", "EIO", "EINTR"),
    "write,pwrite64,copy_file_range,sendfile,ftruncate": ("ENOSPC", "EIO"),
    "chmod,fchmod,fchmodat,chown,lchown,fchown,fchownat,utimensat": ("EIO", "EPERM"),
    "setxattr,lsetxattr,fsetxattr": ("ENOSPC", "EIO", "EPERM"),
    "flock": ("EIO", "EINTR"),
    "mount,fsmount,move_mount,open_tree,fsconfig": ("EPERM", "ENOMEM"),
    "unshare,pivot_root,umount2": ("EPERM", "ENOMEM"),
    "pipe2,socketpair": ("EMFILE",),
}
_EVERY = ",".join(CALLS)
_CALL = re.compile(r"^\d+ +(?:<\.\.\. )?(\w+)\(")


@pytest.fixture
def here(lamina: Lamina, scratch: Path) -> Iterator[Bench]:
    with bench(lamina, scratch) as made:
        yield made


@pytest.mark.parametrize("name", NAMES)
def test_calls_that_fail(here: Bench, scratch: Path, name: str) -> None:
    (task,) = (task for task in here.tasks if task.name == name)
    counts = _counts(here, scratch, task.before, task.words)
    here.reset(task)
    faults = [
        (group, error, number)
        for group, errors in CALLS.items()
        for number in range(1, max((counts[call] for call in group.split(",")), default=0) + 1)
        for error in errors
    ]
    random.Random(f"{SEED} {name}").shuffle(faults)
    for group, error, number in faults[:FAULTS]:
        kept = here.prepare(task)
        where = f"--inject={group}:error={error}:when={number}"
        status, said = _traced(here.lamina, task.words, where)
        try:
            assert status in (0, 125), said
            assert "Traceback" not in said
            assert "a defect of lamina" not in said
            if status and not group.startswith("write"):  # which may be how the line itself is written
                assert re.search(r"^lamina: [^\n]+\n(hint: [^\n]+\n)?\Z", said, re.M), said
            here.look_after(task, kept, done=status == 0)
        except AssertionError as failure:
            failure.add_note(f"{name} {where}, CRASH_SEED={SEED}: status {status}, {said}")
            raise
    here.expect_nothing_more()


def _counts(here: Bench, scratch: Path, before: tuple[tuple[str, ...], ...], words: tuple[str, ...]) -> Counter[str]:
    """Return how often one process of the command, the busiest, makes each call."""
    for earlier in before:
        here.lamina(*earlier)
    log = scratch / "calls"
    _traced(here.lamina, words, f"--trace={_EVERY}", output=log)
    made: dict[str, Counter[str]] = {}
    for line in log.read_text(errors="replace").splitlines():
        if found := _CALL.match(line):
            made.setdefault(line.split()[0], Counter())[found[1]] += 1
    log.unlink()
    most: Counter[str] = Counter()
    for counts in made.values():
        most |= counts
    return most


def _traced(lamina: Lamina, words: tuple[str, ...], what: str, *, output: Path = Path(os.devnull)) -> tuple[int, str]:
    """Run the command under strace; returns its status and what it said."""
    argv = ["strace", "--follow-forks", "--quiet=all", f"--output={output}", what, "--", *program(), *words]
    # What a process that ends has not closed is no matter, and would be told when a fault delays it.
    env = {name: value for name, value in lamina.environment().items() if name != "PYTHONWARNINGS"}
    done = subprocess.run(argv, cwd=lamina.cwd, env=env, capture_output=True, text=True, check=False, timeout=120)
    return done.returncode, done.stderr
