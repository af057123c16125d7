"""The API's objects where nothing is mounted: names, values, and what importing loads."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import lamina
from lamina.api.running import run_options
from lamina.api.surroundings import now, store_root
from lamina.errors import InvalidInput, NotFound, UsageError
from lamina.runtime.spec import RunOptions
from tests.helpers.stores import add_image

_HEAVY = [
    "re",
    "enum",
    "dataclasses",
    "typing",
    "argparse",
    "pathlib",
    "subprocess",
    "shutil",
    "tempfile",
    "logging",
    "contextlib",
    "inspect",
    "json",
]


def test_all_names_are_there() -> None:
    for name in lamina.__all__:
        assert getattr(lamina, name).__name__.rpartition(".")[2] == name
    assert set(dir(lamina)) == set(lamina.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        lamina.nothing  # noqa: B018  # looking is what is tested


def test_finding_an_image_and_making_a_container_load_nothing_heavy(store_path: Path) -> None:
    with lamina.Store(store_path) as store:
        add_image(store.layout, "base:1", "one")
    code = f"""
import sys
before = set(sys.modules)
from lamina.api import Store, RunOptions
store = Store({str(store_path)!r})
box = store.create("base:1", RunOptions(command=["sh"]))
assert box.status == "created", box.status
print(*sorted((set(sys.modules) - before) & set({_HEAVY!r})))
"""
    code = f"import sys; sys.path[:] = {sys.path!r}\n{code}"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("", "")


def test_the_place_of_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LAMINA_ROOT", raising=False)
    assert store_root("x").startswith("/")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert store_root(None) == "/data/lamina"
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    monkeypatch.setenv("HOME", "/home/me")
    assert store_root(None) == "/home/me/.local/share/lamina"
    monkeypatch.setenv("LAMINA_ROOT", "/else/where")
    assert store_root(None) == "/else/where" and store_root("/given") == "/given"
    monkeypatch.delenv("LAMINA_ROOT")
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert store_root(None) == "/var/lib/lamina"


def test_the_time_that_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "12")
    assert now() == 12_000_000_000
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "soon")
    with pytest.raises(UsageError, match="SOURCE_DATE_EPOCH"):
        now()
    monkeypatch.delenv("SOURCE_DATE_EPOCH")
    assert now() > 10**18


def test_options_of_a_run_come_on_top_of_the_containers() -> None:
    base = RunOptions(command=["a"], env={"A": "1", "B": "1"}, workdir="/w", user="me")
    options = run_options(["b"], {"env": {"B": "2"}, "workdir": "/x"}, base=base)
    assert (options.command, options.env, options.workdir, options.user) == (["b"], {"A": "1", "B": "2"}, "/x", "me")
    assert run_options(None, {}, base=base).command == ["a"]
    assert base.env == {"A": "1", "B": "1"}
    with pytest.raises(TypeError, match="not one string"):
        run_options("ls -l", {})
    with pytest.raises(TypeError, match="no option 'evn'"):
        run_options(None, {"evn": {}})


def test_names_and_containers(store_path: Path) -> None:
    with lamina.Store(store_path) as store:
        add_image(store.layout, "base:1", "one")
        image = store.image("base:1")
        store.tag("base:1", "me/app:2")
        image.tag("me/app:3")
        assert image.names == ["base:1", "me/app:2", "me/app:3"] and image == store.image("me/app:3")
        assert [layer.content for layer in image.layers] == [3] and image.size == 3
        assert len(image.history) == 1 and image.inspect()["RepoTags"] == image.names
        box = store.create(image, RunOptions(command=["sh", "-c", "x"], labels={"k": "v"}), name="box")
        assert (box.name, box.status, box.exit_code, box.command, box.labels) == (
            "box",
            "created",
            None,
            ["sh", "-c", "x"],
            {"k": "v"},
        )
        assert box.image == image and store.container("box").id == box.id and box.diff() == []
        assert [c.name for c in store.containers()] == ["box"] and store.containers(all=False) == []
        assert box.inspect()["State"] == {
            "Status": "created", "Running": False, "ExitCode": None, "StartedAt": "", "FinishedAt": "",
        }  # fmt: skip
        box.remove()
        box.remove(force=True)
        assert store.containers() == []


def test_the_host_is_no_image_of_the_store(store_path: Path) -> None:
    with lamina.Store(store_path) as store:
        host = store.image("host")
        assert host.layers == [] and host.config.settings.labels.keys() == {"org.lamina.host"}
        with pytest.raises(InvalidInput, match="no image of the store"):
            host.tag("mine")
        for name in ("host", "host:2"):
            with pytest.raises((InvalidInput, NotFound)):
                store.tag(name, name)


def test_an_image_of_another_store_is_refused(store_path: Path, scratch: Path) -> None:
    with lamina.Store(store_path) as store, lamina.Store(scratch / "other") as other:
        add_image(other.layout, "base:1", "one")
        with pytest.raises(UsageError, match="it is in the store"):
            store.create(other.image("base:1"))
