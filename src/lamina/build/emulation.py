"""Which platforms' programs this machine runs: its own, and those that an interpreter is registered for.

An interpreter that qemu-user-static or its like registers with binfmt_misc carries its own file along (flag F of the
kernel's binfmt-misc documentation), so that it works within a container, too.
"""

from __future__ import annotations

from lamina.build.dockerfile.instructions import Run
from lamina.build.values import at
from lamina.oci.platform import Platform

_REGISTERED = "/proc/sys/fs/binfmt_misc"

# What QEMU calls an architecture where Go, and so OCI, calls it otherwise.
_QEMU = {"amd64": "x86_64", "386": "i386", "arm64": "aarch64", "ppc64le": "ppc64le", "mips64le": "mips64el"}

#: Architectures whose programs run beside those of another one, without an interpreter.
_BESIDE = {("amd64", "386")}


def can_run(machine: Platform, other: Platform, *, registered: str = _REGISTERED) -> bool:
    """Tell whether `machine`, on which this runs, runs programs for `other`.

    A variant is not asked about: which instructions a program really uses only shows when it runs.
    """
    if machine.os != other.os:
        return False
    if machine.architecture == other.architecture or (machine.architecture, other.architecture) in _BESIDE:
        return True
    name = _QEMU.get(other.architecture, other.architecture)
    return _is_enabled(f"{registered}/qemu-{name}")


def check_runnable(machine: Platform, other: Platform | None, step: Run) -> None:
    """Refuse a RUN over a base whose programs this machine does not run (DockerfileError)."""
    if other is not None and not can_run(machine, other):
        reason = f"this machine ({machine}) does not run programs for {other}"
        emulator = "register an emulator with binfmt_misc (qemu-user-static does)"
        hint = f"{emulator}, or run it in a stage FROM --platform=$BUILDPLATFORM"
        raise at(step, reason, hint)


def _is_enabled(path: str) -> bool:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            lines = file.read().splitlines()
    except OSError:
        return False
    flags = next((line.partition(":")[2] for line in lines if line.startswith("flags:")), "")
    return lines[:1] == ["enabled"] and "F" in flags
