"""The Python API with real containers: run, keep, look, commit, time out, and leave nothing."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import lamina
from lamina.api import Change
from tests.helpers.rootfs import make_rootfs
from tests.helpers.wait import until

pytestmark = pytest.mark.requires("overlay", "userns")


@pytest.fixture
def base(store: lamina.Store, scratch: Path) -> lamina.Image:
    make_rootfs(scratch / "rootfs")
    return store.import_rootfs(scratch / "rootfs", "base:1")


def test_a_run_is_like_a_subprocess(base: lamina.Image) -> None:
    done = base.run(["sh", "-c", "cat; echo err >&2; exit 3"], input=b"in\0\xff")
    assert (done.returncode, done.stdout, done.stderr) == (3, b"in\0\xff", b"err\n")
    assert done.args == ["sh", "-c", "cat; echo err >&2; exit 3"]
    told = base.run(["sh", "-c", "echo $A; cat"], text=True, input="ä", env={"A": "1"})
    assert told.stdout == "1\nä"
    assert base.run(["cat"]).stdout == b""
    big = os.urandom(1 << 20)
    assert base.run(["cat"], input=big).stdout == big
    assert base.run(["true"], input=big).returncode == 0
    with pytest.raises(subprocess.CalledProcessError) as caught:
        base.run(["sh", "-c", "echo out; exit 5"], check=True, text=True)
    assert (caught.value.returncode, caught.value.stdout) == (5, "out\n")


def test_a_command_that_does_not_exist(base: lamina.Image, store: lamina.Store) -> None:
    with pytest.raises(lamina.NotFound, match="no-such-command"):
        base.run(["no-such-command"])
    assert store.containers() == []


def test_a_timeout_kills_the_command(base: lamina.Image, store: lamina.Store) -> None:
    started = time.monotonic()
    with pytest.raises(subprocess.TimeoutExpired) as caught:
        base.run(["sh", "-c", "echo begun; sleep 60"], timeout=0.5)
    assert time.monotonic() - started < 30 and caught.value.stdout == b"begun\n"
    assert store.containers() == []


def test_what_is_run_in_one_container_adds_up(base: lamina.Image, store: lamina.Store) -> None:
    with base.container(name="box", env={"A": "1"}) as box:
        box.run(["sh", "-c", "echo hi >/new; rm /etc/group; mkdir /dir"], check=True)
        assert box.run(["sh", "-c", "cat /new; echo $A $B"], env={"B": "2"}, text=True).stdout == "hi\n1 2\n"
        assert box.diff() == [
            Change("A", "/dir"), Change("C", "/etc"), Change("D", "/etc/group"), Change("A", "/new"),
        ]  # fmt: skip
        assert (box.status, box.exit_code, store.container("box").id) == ("exited", 0, box.id)
        image = box.commit("next:1", changes=["ENV C=3", 'CMD ["cat", "/new"]'], author="me", message="why")
        assert store.prune(containers=True).containers == ()
    assert store.containers() == []
    assert image.run().stdout == b"hi\n"
    assert image.run(["sh", "-c", "cat /etc/group; echo $C"], text=True).stdout == "3\n"
    last = image.history[-1]
    assert (last.author, last.comment) == ("me", "why") and last.created_by.startswith("sh -c ")
    assert [layer.diff_id for layer in image.layers[:1]] == [layer.diff_id for layer in base.layers]
    assert base.run(["cat", "/etc/group"]).returncode == 0 and base.names == ["base:1"]


def test_standalone_is_for_containers_over_the_host(base: lamina.Image) -> None:
    with base.container() as box, pytest.raises(lamina.InvalidInput, match="needs no machine"):
        box.commit("next:1", standalone=True)


def test_a_change_over_the_host_is_bound_to_it(store: lamina.Store) -> None:
    host = store.image("host")
    name = f"etc/lamina-test-{os.getpid()}"
    with host.container() as box:
        box.run(["sh", "-c", f"echo here >/{name}"], check=True)
        assert Change("A", f"/{name}") in box.diff()
        image = box.commit("change:1", changes=["LABEL org.lamina.host=elsewhere"])
    assert not os.path.exists(f"/{name}")
    assert image.config.settings.labels["org.lamina.host"] == image.record.host == host.record.host
    assert image.run(["cat", f"/{name}"]).stdout == b"here\n"
    image.record.host = "elsewhere"
    with pytest.raises(lamina.Conflict, match="another machine"):
        image.run(["true"])


def test_a_running_container_is_held(base: lamina.Image, store: lamina.Store) -> None:
    with base.container(name="box") as box:
        running = threading.Thread(target=box.run, args=(["sleep", "60"],))
        running.start()
        until(lambda: box.status == "running" and os.path.exists(f"{box.directory}/pid"), "the command runs")
        assert [container.name for container in store.containers(all=False)] == ["box"]
        refusals: list[Callable[[], object]] = [box.commit, box.remove, lambda: box.run(["true"])]
        for refused in refusals:
            with pytest.raises(lamina.Conflict, match="running"):
                refused()
        box.kill()
        running.join()
        assert store.container("box").exit_code == 137


def test_many_threads_at_once(base: lamina.Image) -> None:
    with ThreadPoolExecutor(8) as pool:
        codes = list(pool.map(lambda n: base.run(["sh", "-c", f"exit {n}"]).returncode, range(16)))
    assert codes == list(range(16))


def test_binds_users_and_limits_are_those_of_a_run(base: lamina.Image, scratch: Path) -> None:
    (scratch / "shared").mkdir()
    (scratch / "shared/file").write_text("shared\n")
    mounts: list[lamina.Bind | lamina.Tmpfs] = [
        lamina.Bind(str(scratch / "shared"), "/mnt", read_only=True),
        lamina.Tmpfs("/fast"),
    ]
    done = base.run(
        ["sh", "-c", "cat /mnt/file; touch /fast/x && touch /mnt/x; pwd"], mounts=mounts, workdir="/tmp", text=True
    )
    assert done.stdout == "shared\n/tmp\n" and "Read-only" in done.stderr


@pytest.mark.requires("root")
def test_mount_shows_directories_as_one(scratch: Path) -> None:
    for name in ("l1", "l2", "u", "w"):
        (scratch / name).mkdir()
    (scratch / "l1/a").write_text("1")
    (scratch / "l2/a").write_text("2")
    with lamina.mount(layers=[scratch / "l1", scratch / "l2"], upper=scratch / "u", work=scratch / "w") as merged:
        assert Path(merged, "a").read_text() == "2"
        Path(merged, "a").unlink()
        Path(merged, "b").touch()
    assert not os.path.exists(merged) and (scratch / "u/b").exists() and (scratch / "l2/a").read_text() == "2"
    assert os.stat(scratch / "u/a").st_rdev == 0
    with lamina.mount(layers=[scratch / "l1"]) as merged, pytest.raises(OSError, match="Read-only"):
        Path(merged, "x").touch()
    with pytest.raises(lamina.InvalidInput), lamina.mount(layers=[scratch / "none"]):
        pass


@pytest.mark.requires("user")
def test_mount_tells_an_ordinary_user_what_to_do(scratch: Path) -> None:
    with pytest.raises(lamina.Unsupported, match="namespace only"), lamina.mount(layers=[scratch], driver="kernel"):
        pass
