"""Names of containers: what can be one, and making one up."""

from __future__ import annotations

import os

from lamina.errors import InvalidInput

_START = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
_REST = _START | frozenset("_.-")
_MAX = 128  # characters; a container's name is also its host name where none is given, and a file name here

_ADJECTIVES = (
    "amber", "ample", "bold", "brave", "brief", "bright", "brisk", "calm", "candid", "clear", "clever", "cool",
    "crisp", "deft", "eager", "early", "fair", "fine", "firm", "fleet", "fresh", "frugal", "gentle", "glad",
    "golden", "grand", "green", "hardy", "humble", "keen", "kind", "late", "light", "lively", "lucid", "mellow",
    "merry", "mild", "neat", "nimble", "noble", "patient", "plain", "proud", "quick", "quiet", "rapid", "ready",
    "serene", "sharp", "silent", "silver", "sly", "smooth", "solid", "spry", "steady", "still", "sunny", "swift",
    "tidy", "vivid", "warm", "wise",
)  # fmt: skip

_NOUNS = (
    "acorn", "agate", "alder", "anchor", "anvil", "aspen", "badger", "basalt", "beacon", "beech", "birch", "bridge",
    "cedar", "chalk", "cliff", "clover", "comet", "coral", "crane", "delta", "ember", "falcon", "fern", "finch",
    "flint", "forge", "garnet", "glacier", "granite", "grove", "harbor", "hazel", "heron", "island", "ivy", "juniper",
    "kestrel", "lagoon", "lantern", "larch", "ledge", "lichen", "linden", "marble", "meadow", "mesa", "mica", "moss",
    "onyx", "orchard", "otter", "pebble", "pine", "quarry", "quartz", "reed", "ridge", "river", "shale", "slate",
    "sparrow", "spruce", "thicket", "willow",
)  # fmt: skip


def check_container_name(name: str) -> None:
    """Raise InvalidInput unless `name` can be a container's: docker's rule, two characters or more."""
    if len(name) < 2 or name[0] not in _START or not _REST.issuperset(name):
        reason = "it must be two or more of letters, digits, '_', '.' and '-', the first a letter or digit"
        raise InvalidInput("name a container", repr(name), reason)
    if len(name) > _MAX:
        raise InvalidInput("name a container", repr(name), f"it is longer than {_MAX} characters")


def make_up_name(*, attempt: int) -> str:
    """Return a random name, `adjective_noun`; from the tenth attempt on with a number, so that there are enough."""
    adjective, noun, more = os.urandom(3)
    name = f"{_ADJECTIVES[adjective % len(_ADJECTIVES)]}_{_NOUNS[noun % len(_NOUNS)]}"
    return name if attempt < 10 else f"{name}{attempt * 256 + more}"
