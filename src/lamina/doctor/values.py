"""The values of a diagnosis: what a probe is, what it found, and what would mend it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from lamina.ids.map import IdMap

State = Literal["works", "fails", "unknown"]

#: Families of distributions, which call packages by different names.
FAMILIES = ("debian", "fedora", "arch")


@dataclass(frozen=True, slots=True)
class Remedy:
    """One command for root that mends something, by family of distributions; empty where a family has none."""

    debian: str = ""
    fedora: str = ""
    arch: str = ""

    def of(self, family: str) -> str:
        """Return the command for `family`, one of `FAMILIES`; that of Debian for any other."""
        return {"fedora": self.fedora, "arch": self.arch}.get(family, self.debian)


def everywhere(command: str) -> Remedy:
    """Return the remedy that is the same on all systems."""
    return Remedy(command, command, command)


def package(debian: str, fedora: str = "", arch: str = "") -> Remedy:
    """Return the remedy that installs a package: by its name in Debian, and in the others where it differs."""
    return Remedy(
        f"apt-get install {debian}", f"dnf install {fedora or debian}", f"pacman -S --needed {arch or debian}"
    )


NO_REMEDY = Remedy()


class Missing(Exception):
    """What a probe raises for something that this machine cannot do: the reason, and what would mend it."""

    def __init__(self, reason: str, remedy: Remedy = NO_REMEDY) -> None:
        super().__init__(reason)
        self.reason = reason
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class Host:
    """What probes are told: the user, the id map that lamina chooses for them, the store, and where to try things.

    `scratch` is an empty directory on the store's file system, or "" where none could be made, for the reason
    `no_scratch`.
    """

    uid: int
    gid: int
    ids: IdMap
    store: str
    scratch: str
    no_scratch: str

    @property
    def is_root(self) -> bool:
        """Whether this user is root, be it of a user namespace."""
        return self.uid == 0


@dataclass(frozen=True, slots=True)
class Probe:
    """A question to the machine.

    `purpose` is what needs the answer to be yes. `do` tries it, in a process of its own that may enter any namespace,
    and returns a phrase about how it is, or raises Missing, LaminaError or OSError. `remedy` is for what is raised
    without one. Without what is `needed`, no container can run. It is not tried where a check `after` which it comes,
    and on which it stands, did not work.
    """

    name: str
    purpose: str
    do: Callable[[Host], str]
    needed: bool = False
    remedy: Remedy = NO_REMEDY
    after: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Check:
    """What a probe found: `text` says how it is, or why it does not work."""

    name: str
    purpose: str
    needed: bool
    state: State
    text: str
    remedy: Remedy
