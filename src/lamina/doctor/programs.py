"""Programs of the system that lamina starts where they are there."""

from __future__ import annotations

from lamina.doctor.values import Host, Missing, Probe, Remedy, package
from lamina.ids.subid import find_program

_BOOTSTRAP = Remedy("apt-get install mmdebstrap", "dnf install debootstrap", "pacman -S --needed debootstrap")


def probes() -> list[Probe]:
    """Return the probes of programs that no other probe runs."""
    return [
        Probe("mmdebstrap", "bootstrap", _bootstrap, remedy=_BOOTSTRAP),
        Probe("git", "build contexts from repositories", _git, remedy=package("git")),
    ]


def _bootstrap(host: Host) -> str:
    names = ("mmdebstrap", "debootstrap") if host.is_root else ("mmdebstrap",)
    for name in names:
        if path := find_program(name):
            return path
    raise Missing(f"{' and '.join(names)} not found", _BOOTSTRAP)


def _git(host: Host) -> str:
    path = find_program("git")
    if path is None:
        raise Missing("git not found", package("git"))
    return path
