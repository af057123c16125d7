"""The words of `requires`: what a probe says no to is explained, and CI's list is complete."""

from __future__ import annotations

from tests.helpers import probes

PEOPLE = {"root", "mapped", "subuid", "plain"}


def test_every_probe_is_listed_with_known_people() -> None:
    table = probes.needs()
    assert probes.probed_words() <= table.keys()
    assert set().union(*table.values()) <= PEOPLE


def test_whoever_runs_the_tests_is_one_of_them() -> None:
    assert probes.who() in PEOPLE


def test_a_missing_program_is_named() -> None:
    assert probes.why_not("no-such-program") == "no-such-program is not installed"
    assert probes.why_not("sh") == ""
