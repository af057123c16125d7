"""The helper: a process beside a program that may have threads, inside the id map."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from lamina.errors import NotFound
from lamina.ids.map import choose
from lamina.ids.worker import Fd, Helper
from lamina.linux.locks import is_locked, lock
from lamina.runtime.execute import find_program
from lamina.store.stop import kill_container
from tests.helpers.boxes import children_of, expect_gone
from tests.helpers.wait import until

pytestmark = pytest.mark.requires("userns")


@pytest.fixture
def helper() -> Iterator[Helper]:
    made = Helper(choose(os.geteuid(), os.getegid()))
    yield made
    made.close()


def helpers(of: int) -> set[int]:
    """Return the helpers of a process with their children."""
    return {pid for pid in children_of(of) if b"lamina.ids.worker" in _command(pid)}


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def test_results_descriptors_and_errors_cross(helper: Helper, tmp_path: Path) -> None:
    assert helper.call(find_program, name="sh", path="/none:/bin") == "/bin/sh"
    file = os.open(tmp_path / "file", os.O_CREAT | os.O_RDWR)
    other = os.open(tmp_path / "file", os.O_RDWR)
    try:
        assert helper.call(is_locked, fd=Fd(file)) is False
        lock(other)
        assert helper.call(is_locked, fd=Fd(file)) is True
    finally:
        os.close(file)
        os.close(other)
    with pytest.raises(NotFound, match="cannot run none: ") as missing:
        helper.call(find_program, name="none", path="/bin")
    assert missing.value.status == 127, "as without a helper"
    with pytest.raises(FileNotFoundError) as caught:
        helper.call(kill_container, directory="/no\udcffsuch")
    assert caught.value.errno == errno.ENOENT and caught.value.filename == "/no\udcffsuch/lock"
    with pytest.raises(RuntimeError, match="TypeError"):
        helper.call(find_program, name=3, path="")  # type: ignore[arg-type]  # a defect of the caller
    with pytest.raises(TypeError, match="by name"):
        helper.call(find_program, "sh", "/bin")


def test_only_functions_of_lamina(helper: Helper) -> None:
    with pytest.raises(RuntimeError, match="not a function of lamina"):
        helper.call(os.getcwd)


def test_threads_call_side_by_side(helper: Helper) -> None:
    def ask(number: int) -> str:
        return helper.call(find_program, name="sh", path=f"/none{number}:/bin")

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(40))) == ["/bin/sh"] * 40
    until(lambda: len(helpers(os.getpid())) == 1, "one process, and no zombies")


def test_a_killed_helper_is_replaced(helper: Helper) -> None:
    helper.call(find_program, name="sh", path="/bin")
    until(lambda: len(helpers(os.getpid())) == 1, "the request's process has ended")
    (first,) = helpers(os.getpid())
    os.kill(first, signal.SIGKILL)
    until(lambda: _command(first) == b"", "the helper is dead")
    assert helper.call(find_program, name="sh", path="/bin") == "/bin/sh"
    assert first not in helpers(os.getpid())


def test_closing_may_be_repeated(helper: Helper) -> None:
    helper.close()
    helper.call(find_program, name="sh", path="/bin")
    family = helpers(os.getpid())
    helper.close()
    helper.close()
    expect_gone(family)


def test_an_interrupt_ends_the_request(helper: Helper, tmp_path: Path) -> None:
    helper.call(find_program, name="sh", path="/bin")
    (tmp_path / "lock").touch()
    held = os.open(tmp_path / "lock", os.O_RDWR)
    lock(held)  # the job waits up to 10 s for it
    before = signal.signal(signal.SIGALRM, _interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(KeyboardInterrupt):
            helper.call(kill_container, directory=str(tmp_path))
        until(lambda: len(helpers(os.getpid())) == 1, "the child has ended", seconds=5)
    finally:
        signal.signal(signal.SIGALRM, before)
        os.close(held)
    assert helper.call(find_program, name="sh", path="/bin") == "/bin/sh"


def _interrupt(_signal: int, _frame: object) -> None:
    raise KeyboardInterrupt


_PROGRAM = """
import os, sys
from lamina.ids.map import choose
from lamina.ids.worker import Helper
from lamina.store.stop import kill_container
from lamina.runtime.execute import find_program
helper = Helper(choose(os.geteuid(), os.getegid()))
helper.call(find_program, name="sh", path="/bin")
print("up", flush=True)
helper.call(kill_container, directory=sys.argv[1])
"""


def test_nothing_outlives_a_killed_program(tmp_path: Path) -> None:
    (tmp_path / "lock").touch()
    held = os.open(tmp_path / "lock", os.O_RDWR)
    lock(held)
    read, write = os.pipe()  # such as a library opens: without close-on-exec
    try:
        with subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, str(tmp_path)], stdout=subprocess.PIPE, pass_fds=[write]
        ) as program:
            os.close(write)
            assert program.stdout is not None
            assert program.stdout.readline() == b"up\n"
            until(lambda: len(helpers(program.pid)) == 2, "the helper and its child")
            family = helpers(program.pid)
            for pid in family:
                targets = _targets(pid, os.listdir(f"/proc/{pid}/fd"))
                assert not any(target.startswith("pipe:") for target in targets - _targets(pid, "012")), targets
            program.kill()
            expect_gone(family)
        assert os.read(read, 1) == b""
    finally:
        os.close(read)
        os.close(held)


def _targets(pid: int, fds: Iterable[str]) -> set[str]:
    """Return what descriptors of a process are; it may be loading modules, and has closed some of them since."""
    found = set()
    for fd in fds:
        with suppress(FileNotFoundError):
            found.add(os.readlink(f"/proc/{pid}/fd/{fd}"))
    return found


@pytest.mark.requires("user")
def test_refused_namespaces_say_why() -> None:
    # The settings of a namespace hold for those made in it: with 0 none can be made below.
    code = (
        "import os\nfrom lamina.ids.enter import enter\nfrom lamina.ids.map import IdMap\n"
        "from lamina.errors import Unsupported\n"
        "ids = IdMap('single', os.geteuid(), os.getegid())\nenter(ids)\n"
        "open('/proc/sys/user/max_user_namespaces', 'w').write('0')\n"
        "try:\n    enter(IdMap('single', 0, 0))\nexcept Unsupported as error:\n    print(error, error.hint)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.startswith(
        "cannot make a user namespace: user.max_user_namespaces is 0 or used up as root: sysctl"
    ), done.stderr
