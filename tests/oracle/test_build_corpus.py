"""Whole builds, tree for tree and config for config, beside what BuildKit made of the same Dockerfiles and contexts.

BuildKit's results are kept: tests/helpers/corpus.py says how they come about. tests/golden/builds/open.txt lists the
cases that are not compared yet.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.basearchive import write_base
from tests.helpers.command import Lamina
from tests.helpers.corpus import FAILS, Builder, Case, build_all, read_cases, read_expected, read_open
from tests.helpers.pictures import picture

EXPECTED = read_expected()
CASES = [case for case in read_cases() if str(case) not in read_open()]


def _names(value: object) -> str:
    return str(value)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return a directory with the base image's archive, base.tar."""
    place = tmp_path_factory.mktemp("corpus")
    write_base(place / "base.tar")
    yield place
    shutil.rmtree(place)


@pytest.fixture(scope="module")
def ours(request: pytest.FixtureRequest, place: Path) -> Iterator[dict[str, str]]:
    """Return the picture of what we make of each case that is asked for."""
    lamina = Lamina(place / "store", cwd=place)
    lamina("load", "-i", str(place / "base.tar"))
    yield _pictures(_asked(request, "test_lamina"), _lamina(lamina), place / "ours", place / "base.tar")
    lamina.empty_store()


def _asked(request: pytest.FixtureRequest, start: str) -> list[Case]:
    asked: list[Case] = []
    for item in request.session.items:
        if isinstance(item, pytest.Function) and item.name.startswith(start):
            case = item.callspec.params["case"]
            assert isinstance(case, Case)
            asked.append(case)
    return asked


def _pictures(cases: list[Case], build: Builder, folder: Path, base: Path) -> dict[str, str]:
    built = build_all(cases, build, folder)
    return {name: picture(path, base) if path else FAILS for name, path in built.items()}


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


@pytest.mark.requires("root", "overlay", "setfattr")
@pytest.mark.parametrize("case", CASES, ids=_names)
def test_lamina_makes_what_buildkit_makes(case: Case, ours: dict[str, str]) -> None:
    assert ours[str(case)] == EXPECTED[str(case)]
