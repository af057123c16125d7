"""The tools killed before every single change that they make to the disk: the next call ends well."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lamina.errors import Conflict, InvalidInput
from lamina.overlay.union.union import Union
from lamina.overlay.upper.check import check, repair
from lamina.overlay.upper.flatten import plan_flatten
from lamina.overlay.upper.fold import STAGE
from lamina.overlay.upper.merge import merge
from lamina.overlay.upper.steps import carry_out
from lamina.overlay.upper.stopped import Stopped
from lamina.overlay.upper.vacuum import plan_vacuum
from tests.helpers import probes
from tests.helpers.histories import Operation
from tests.helpers.trees import remove_tree
from tests.helpers.unions import Item
from tests.helpers.uppers import FOLLOWING, PLAIN, Place, Seen, place, seen

pytestmark = pytest.mark.requires("root", "overlay")

LAYERS = [
    [
        Item("dir/file", "file", "base"),
        Item("dir/sub/deep", "file", "deep"),
        Item("dir/gone", "file", "gone"),
        Item("other/one", "file", "1"),
        Item("other/two", "hard", "other/one"),
        Item("plain/same", "file", "same"),
        Item("replaced/inside", "file", "x"),
        Item("kept", "file", "kept"),
    ],
    [
        Item("dir/top", "file", "top"),
        Item("hidden", "whiteout"),
        Item("replaced/again", "file", "y"),
        Item("file", "file", "a file"),
    ],
]
HISTORY: list[Operation] = [
    ("unlink", "dir/gone"),
    ("rename", "dir", "moved", 0),
    ("append", "moved/sub/deep", "er"),
    ("chmod", "other/one", 0o600),
    ("unlink", "other/one"),
    ("remove_tree", "replaced"),
    ("mkdir", "replaced", 0o755),
    ("create", "replaced/new", "new", 0o644),
    ("link", "replaced/new", "link"),
    ("unlink", "file"),
    ("mkdir", "file", 0o700),
    ("chmod", "kept", 0o600),
    ("setxattr", "plain", "user.one", b"v"),
    ("chmod", "plain/same", 0o600),
    ("chmod", "plain/same", 0o644),
    ("symlink", "kept", "symlink"),
]
CHANGES = frozenset((
    "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.setxattr", "os.removexattr",
    "os.truncate", "os.utime", "os.chmod", "os.chown",
))  # fmt: skip


def _die_at(moment: int, work: Callable[[], None]) -> bool:
    """Do the work in a child that is killed before its change number `moment`; tell whether it came to its end."""
    pid = os.fork()
    if pid == 0:
        left = moment

        def look(event: str, arguments: tuple[object, ...]) -> None:
            nonlocal left
            makes = event == "open" and isinstance(arguments[2], int) and arguments[2] & os.O_CREAT
            if event in CHANGES or makes:
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        try:
            sys.addaudithook(look)
            work()
        except BaseException:  # noqa: BLE001  # the child of a test must not go on as the test
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return not os.WIFSIGNALED(status)


def _merge(here: Place) -> None:
    with Stopped(here.overlay(), merging=True) as room:
        merge(room)


def _flatten(here: Place) -> None:
    with Stopped(here.overlay()) as room:
        carry_out(plan_flatten(room), room)


def _vacuum(here: Place) -> None:
    with Stopped(here.overlay()) as room:
        carry_out(plan_vacuum(room), room)


def _is_merging(here: Place) -> bool:
    with Stopped(here.overlay(), merging=True) as room:
        return room.is_merging()


def _difference(before: Seen, after: Seen) -> list[object]:
    """Return what two looks at a tree do not have in common."""
    (one, groups), (other, other_groups) = before, after
    differing = [path for path in one.keys() | other.keys() if one.get(path) != other.get(path)]
    shown: list[object] = [(path, one.get(path), other.get(path)) for path in sorted(differing)]
    return [*shown, *(sorted(group) for group in groups ^ other_groups)]


def _refused_while_merging(here: Place) -> None:
    with pytest.raises(Conflict, match="interrupted"), Stopped(here.overlay()):
        pass
    with pytest.raises(InvalidInput, match="lamina-merge"):
        Union(here.layers, upper=here.top / "upper", work=here.top / "work")


@pytest.fixture
def memory(scratch: Path) -> Iterator[Path]:
    """Return a directory in memory if overlayfs takes it: a merge waits for the disk, and here are hundreds."""
    if probes.overlay_on("/dev/shm"):
        yield scratch
        return
    path = tempfile.mkdtemp(prefix="lamina-tests-", dir="/dev/shm")
    yield Path(path)
    remove_tree(path)


@pytest.mark.parametrize(("driver", "stride"), [("metacopy", 1), ("union", 5)])
def test_a_merge_that_was_killed_is_finished(memory: Path, driver: str, stride: int) -> None:
    moment, finished = 0, False
    while not finished:
        moment += stride
        with place(memory, LAYERS) as here:
            here.play(driver, HISTORY)
            with here.mounted(*FOLLOWING) as kernel:
                before = seen(kernel, times=False)
            finished = _die_at(moment, lambda: _merge(here))  # called at once
            if not finished and _is_merging(here):
                _refused_while_merging(here)
                _die_at(moment, lambda: _merge(here))  # called at once
            elif not finished:
                with here.mounted(*FOLLOWING) as kernel:
                    assert seen(kernel, times=False) == before, f"before change {moment}"
            _merge(here)
            assert os.listdir(here.top / "upper") == []
            assert not (here.layers[-1] / STAGE.decode()).exists()
            with Stopped(here.overlay()) as room:
                assert check(room) == []
            with here.mounted(*PLAIN) as kernel:
                after = seen(kernel, times=False)
            assert _difference(before, after) == [], f"after change {moment}"
    assert moment > 100


@pytest.mark.parametrize("driver", ["metacopy", "union"])
@pytest.mark.parametrize("tool", [_flatten, _vacuum])
def test_killed_at_any_moment_the_tree_stays(memory: Path, driver: str, tool: Callable[[Place], None]) -> None:
    moment, finished = 0, False
    while not finished:
        moment += 1
        with place(memory, LAYERS) as here:
            here.play(driver, HISTORY)
            with here.mounted(*FOLLOWING) as kernel:
                before = seen(kernel, times=False)
            finished = _die_at(moment, lambda: tool(here))  # called at once
            with here.mounted(*FOLLOWING) as kernel:
                assert seen(kernel, times=False) == before, f"before change {moment}"
            tool(here)
            with Stopped(here.overlay()) as room:
                repair(room)
                assert check(room) == []
            with here.mounted(*(PLAIN if tool is _flatten else FOLLOWING)) as kernel:
                after = seen(kernel, times=False)
            assert _difference(before, after) == [], f"after change {moment}"
    assert moment > 1
