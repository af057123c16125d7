"""Set-up of every test: what it needs, where it may write, what it must not leave behind.

A test says with `@pytest.mark.requires("userns", "overlay")` what it cannot do without; probes answer, and needs.txt
lists what CI may not lack. Root's tests mount only in a mount namespace of their own, which tests/run.py makes.
"""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from lamina import Store
from lamina.linux.process import set_child_subreaper
from tests.helpers import leaks, probes, users
from tests.helpers.command import Lamina, Users
from tests.helpers.trees import remove_tree

#: Folders whose tests mount nothing, so that root may run them anywhere.
_HARMLESS = ("unit", "property")

_session = pytest.StashKey[str]()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "requires(*words): what the test cannot do without (see tests/needs.txt)")
    hypothesis.settings.register_profile("default", deadline=None)
    hypothesis.settings.register_profile("ci", deadline=None, derandomize=False, print_blob=True, database=None)
    hypothesis.settings.register_profile("long", deadline=None, max_examples=1000, print_blob=True)
    profile = "ci" if os.environ.get("CI") else "default"
    hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", profile))
    # Whoever starts the tests in the background, or with nohup, has signals ignored, which commands would inherit.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    set_child_subreaper()  # what a command leaves running becomes a child of this process, and so is seen
    session = tempfile.mkdtemp(prefix="lamina-tests-", dir=probes.scratch_base())
    Path(session).chmod(0o755)  # root's tests start commands as other users
    config.stash[_session] = session
    temporary = Path(session, "tmp")
    temporary.mkdir()
    temporary.chmod(0o1777)
    os.environ["TMPDIR"] = tempfile.tempdir = str(temporary)
    if config.option.basetemp is None:
        config.option.basetemp = f"{session}/pytest"


def pytest_unconfigure(config: pytest.Config) -> None:
    if session := config.stash.get(_session, ""):
        remove_tree(session)


def pytest_report_header() -> str:
    return f"running as: {probes.who()}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    known = probes.needs()
    for item in items:
        if unknown := _words(item) - known.keys():
            raise pytest.UsageError(f"{item.nodeid}: not in tests/needs.txt: {', '.join(sorted(unknown))}")
    mounting = [item for item in items if _folder(config, item) not in _HARMLESS]
    if mounting and probes.who() == "root" and not probes.is_private_mount_namespace():
        raise pytest.UsageError(
            f"{mounting[0].nodeid}: root's tests run in a mount namespace of their own:"
            " make test, or unshare --mount --propagation private pytest ..."
        )


def _words(item: pytest.Item) -> set[str]:
    return {word for mark in item.iter_markers("requires") for word in mark.args}


def _folder(config: pytest.Config, item: pytest.Item) -> str:
    parts = item.path.relative_to(config.rootpath).parts
    return parts[1] if len(parts) > 2 else ""


def pytest_runtest_setup(item: pytest.Item) -> None:
    for word in sorted(_words(item)):
        if reason := probes.why_not(word):
            if os.environ.get("CI") and probes.who() in probes.needs()[word]:
                pytest.fail(f"CI must have {word} here: {reason}", pytrace=False)
            pytest.skip(f"{word}: {reason}")


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """Fail a test that leaves mounts, descriptors, processes, threads or temporary files."""
    before = leaks.holdings()
    yield
    leaks.expect_none(before)


@pytest.fixture
def scratch(pytestconfig: pytest.Config) -> Iterator[Path]:
    """Return an empty directory that overlayfs takes as upper and work; it is removed after the test."""
    path = tempfile.mkdtemp(prefix="scratch-", dir=pytestconfig.stash[_session])
    Path(path).chmod(0o755)
    yield Path(path)
    remove_tree(path)


@pytest.fixture
def store_path(scratch: Path) -> Path:
    """Return where the store of the test is: the command's and the API's alike. It does not exist yet."""
    return scratch / "store"


@pytest.fixture
def lamina(store_path: Path, scratch: Path) -> Iterator[Lamina]:
    """Return the command itself, run as a process of its own over the test's store."""
    command = Lamina(store_path, cwd=scratch)
    yield command
    command.empty_store()


@pytest.fixture
def ordinary_users() -> Users:
    """Return the ordinary users, as whom root can run commands. For tests that require root and setpriv."""
    users.ensure_users()
    return Users()


@pytest.fixture
def other(scratch: Path) -> Iterator[Lamina]:
    """Return the command over another store."""
    command = Lamina(scratch / "other", cwd=scratch)
    yield command
    command.empty_store()


@pytest.fixture
def store(store_path: Path) -> Iterator[Store]:
    """Return the test's store in this process; nothing stays in it when all containers and images are removed."""
    with Store(store_path) as opened:
        yield opened
        for container in opened.containers():
            container.remove(force=True)
        for image in opened.images():
            opened.remove_image(image.id, force=True)
        assert os.listdir(store_path / "staging") == os.listdir(store_path / "layers") == []
