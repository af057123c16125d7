"""How much a test does: little in every run, much in `make test-long`."""

from __future__ import annotations

from hypothesis import settings


def effort(*, short: int, long: int) -> int:
    """Return how often or how long: as long as the profile of `make test-long` asks for, or else short."""
    return long if settings().max_examples >= 1000 else short
