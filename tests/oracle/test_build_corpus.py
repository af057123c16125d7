"""Whole builds, tree for tree and config for config, beside what BuildKit and buildah make of the same.

BuildKit's results are kept: tests/helpers/corpus.py says how they come about. tests/golden/builds/open.txt lists the
cases in which we differ on purpose. buildah builds them in the same run, over a storage of its own and as the same
user; tests/golden/builds/buildah.txt lists the cases where it is known to do something else than BuildKit, with the
reasons. Root takes half of the cases to buildah, an ordinary user the other half; the long profile takes all.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.helpers import probes
from tests.helpers.basearchive import write_base
from tests.helpers.buildah import Buildah, read_differences
from tests.helpers.command import Lamina
from tests.helpers.corpus import FAILS, Builder, Case, build_all, read_cases, read_expected, read_open
from tests.helpers.pictures import pictures
from tests.helpers.trees import remove_tree

NEEDS_ROOT = ("run-device",)  # nobody else makes devices
IS_ROOT = probes.who() == "root"
EXPECTED = read_expected()
AGREED = [case for case in read_cases() if str(case) not in read_differences()]
if os.environ.get("HYPOTHESIS_PROFILE") != "long":
    AGREED = AGREED[::2] if IS_ROOT else AGREED[1::2]
OURS = read_cases() if IS_ROOT else AGREED
RECORDED = [case for case in OURS if str(case) not in read_open() and (IS_ROOT or str(case) not in NEEDS_ROOT)]


@dataclass(frozen=True, slots=True)
class Made:
    """The picture of an image, and the plain one; both are FAILS where the build failed."""

    full: str
    plain: str


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return a directory with the base image's archive, base.tar."""
    place = tmp_path_factory.mktemp("corpus")
    write_base(place / "base.tar")
    yield place
    remove_tree(str(place))


@pytest.fixture(scope="module")
def ours(request: pytest.FixtureRequest, place: Path) -> Iterator[dict[str, Made]]:
    """Return what we make of each case that is asked for."""
    lamina = Lamina(place / "store", cwd=place)
    lamina("load", "-i", str(place / "base.tar"))
    yield _made(_asked(request, "test_build"), _lamina(lamina), place / "ours", place / "base.tar")
    lamina.empty_store()


@pytest.fixture(scope="module")
def theirs(request: pytest.FixtureRequest, place: Path) -> Iterator[dict[str, Made]]:
    """Return what buildah makes of each case that is asked for."""
    buildah = Buildah(place / "buildah", place / "base.tar")
    yield _made(_asked(request, "test_buildah"), buildah.build, place / "theirs", place / "base.tar")
    buildah.empty()


def _asked(request: pytest.FixtureRequest, start: str) -> list[Case]:
    asked: dict[str, Case] = {}
    for item in request.session.items:
        if isinstance(item, pytest.Function) and item.module is request.module and item.name.startswith(start):
            case = item.callspec.params["case"]
            assert isinstance(case, Case)
            asked[str(case)] = case
    return list(asked.values())


def _made(cases: list[Case], build: Builder, folder: Path, base: Path) -> dict[str, Made]:
    built = build_all(cases, build, folder)
    return {name: Made(*pictures(path, base)) if path else Made(FAILS, FAILS) for name, path in built.items()}


def _lamina(lamina: Lamina) -> Builder:
    def build(case: Case, folder: Path) -> Path:
        context = case.lay_out(folder)
        if case.parent:
            lamina("build", "-t", f"parent:{case}", str(case.lay_out_parent(folder)))
        # The cache goes by contents, never by times: a step of another case would do, with the times of its files.
        lamina("build", "--no-cache", "-t", f"case:{case}", *case.options, ".", cwd=context)
        lamina("save", "--format", "docker-archive", "-o", str(folder / "image.tar"), f"case:{case}")
        return folder / "image.tar"

    return build


@pytest.mark.requires("ids", "overlay", "setfattr")
@pytest.mark.parametrize("case", RECORDED, ids=str)
def test_buildkit_makes_the_same(case: Case, ours: dict[str, Made]) -> None:
    assert ours[str(case)].full == EXPECTED[str(case)]


@pytest.mark.requires("ids", "overlay", "setfattr", "buildah")
@pytest.mark.parametrize("case", AGREED, ids=str)
def test_buildah_makes_the_same(case: Case, ours: dict[str, Made], theirs: dict[str, Made]) -> None:
    assert ours[str(case)].plain == theirs[str(case)].plain


@pytest.mark.requires("ids")
def test_enough_is_compared() -> None:
    names = {str(case) for case in read_cases()}
    assert read_open() | read_differences() <= names, "a case that is listed is none"
    assert len(AGREED) >= 120
