"""Stories of calls end the same on a plain directory, on the kernel's overlay, and on ours."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernel.posix import scenarios, suites
from tests.kernel.posix.places import NAMES, place

pytestmark = pytest.mark.requires("root", "overlay", "fuse", "setfacl")

SCENARIOS = {**scenarios.SCENARIOS, **suites.SCENARIOS}

#: What the kernel's overlay does otherwise than a plain directory, and ours does not.
KERNEL_DIFFERS = {
    "replaced_file_lives_on": "a replaced file of a layer keeps its count of links",
    "removed_directory_is_dead": "a removed directory of a layer keeps its count of links",
    "holes_survive_copy_up": "copy-up writes more than the data around a hole",
}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, dict[str, object]]]:
    """Return what each scenario gives, by file system: one mount of each serves them all."""
    found: dict[str, dict[str, object]] = {}
    scratch = tmp_path_factory.mktemp("posix")
    for above in (scratch, *scratch.parents):
        if above.stat().st_uid == os.geteuid() and not above.stat().st_mode & 0o001:
            above.chmod(0o755)  # the scenarios act as another user, too

    def prepare(lower: Path) -> None:
        for name in SCENARIOS:
            (lower / name).mkdir()
            scenarios.populate(lower / name)

    previous = os.umask(0o022)
    try:
        for kind in NAMES:
            with place(kind, scratch, prepare) as top:
                found[kind] = {name: _told(name, top / name) for name in SCENARIOS}
    finally:
        os.umask(previous)
    yield found


def _told(name: str, top: Path) -> object:
    before = set(os.listdir("/proc/self/fd"))
    try:
        return SCENARIOS[name](top)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        for fd in set(os.listdir("/proc/self/fd")) - before:
            try:
                os.close(int(fd))
            except OSError:  # the descriptor of the listing itself
                continue
        return f"{error!r} in line {_line(error)}"


def _line(error: BaseException) -> int:
    trace = error.__traceback__
    line = 0
    while trace is not None:
        if trace.tb_frame.f_code.co_filename.endswith(("scenarios.py", "suites.py")):
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


@pytest.mark.parametrize("name", SCENARIOS)
def test_same_everywhere(results: dict[str, dict[str, object]], name: str) -> None:
    plain, kernel, ours = (results[kind][name] for kind in NAMES)
    assert ours == plain
    assert (kernel == plain) is (name not in KERNEL_DIFFERS)
