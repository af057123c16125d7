"""What Linux calls machines, and what OCI does. On the start-up path, so apart from `lamina.oci.platform`."""

from __future__ import annotations

# What uname(2) calls a machine, and its GOARCH and variant.
_MACHINES = {
    "x86_64": ("amd64", ""),
    "i386": ("386", ""),
    "i686": ("386", ""),
    "aarch64": ("arm64", ""),
    "armv6l": ("arm", "v6"),
    "armv7l": ("arm", "v7"),
    "armv8l": ("arm", "v7"),
    "riscv64": ("riscv64", ""),
    "ppc64le": ("ppc64le", ""),
    "s390x": ("s390x", ""),
    "loongarch64": ("loong64", ""),
    "mips64": ("mips64", ""),
}


def architecture_of(machine: str) -> tuple[str, str]:
    """Return GOARCH and variant of `machine`, as `os.uname().machine` spells it; unknown ones keep their name."""
    return _MACHINES.get(machine, (machine, ""))


def platform_name(machine: str) -> str:
    """Return the name of the Linux platform of `machine`: OS/ARCHITECTURE[/VARIANT]."""
    return "/".join(part for part in ("linux", *architecture_of(machine)) if part)
