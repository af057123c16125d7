"""Images of other programs' making: loaded, run, saved, and taken back by who made them, with nothing lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.command import Lamina
from tests.helpers.images import facts
from tests.helpers.makers import MAKERS, Maker, Workshop


@pytest.mark.parametrize(
    "maker", [pytest.param(maker, marks=pytest.mark.requires(*maker.needs), id=maker.name) for maker in MAKERS]
)
def test_what_others_make_comes_back_to_them(lamina: Lamina, other: Lamina, scratch: Path, maker: Maker) -> None:
    workshop = Workshop(maker, scratch / "w")
    workshop.make()
    (loaded,) = lamina("load", "-i", workshop.made).lines()
    name = loaded.rpartition(" ")[2]
    assert lamina("run", "--rm", name, *maker.words).stdout == maker.prints
    shown, plain = workshop.show(maker.form, workshop.made), workshop.show_plainly(maker.form, workshop.made)
    for form in ("oci-archive", "docker-archive"):
        saved = scratch / form
        lamina("save", "--format", form, "-o", saved, name)
        assert workshop.show(form, saved) == shown
        assert workshop.show_plainly(form, saved) == plain
        other("load", "-i", saved)
        assert facts(other, name) == facts(lamina, name)
