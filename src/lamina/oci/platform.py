"""Platforms: which machine an image is for (image-spec image-index.md, "platform"; names are Go's GOOS and GOARCH)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lamina.errors import InvalidInput
from lamina.oci.document import Fields, without_empty
from lamina.oci.machines import architecture_of

# Other spellings of an architecture that people and old images use.
_SPELLINGS = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64", "i386": "386", "armhf": "arm", "armel": "arm"}

# The variant that an architecture has when none is said.
_DEFAULT_VARIANTS = {"arm64": "v8", "arm": "v7"}


@dataclass(frozen=True, slots=True)
class Platform:
    """An operating system and an architecture; `variant` is empty for what the architecture's name alone means."""

    os: str
    architecture: str
    variant: str = ""
    os_version: str = ""
    os_features: tuple[str, ...] = ()
    other: Mapping[str, object] = field(default_factory=dict)

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)

    def runs(self, other: Platform) -> bool:
        """Tell whether this machine runs what is for `other`: the same system, architecture and variant."""
        return (self.os, self.architecture, _variant(self)) == (other.os, other.architecture, _variant(other))

    def to_object(self) -> dict[str, object]:
        """Return the platform as JSON has it."""
        known = {"variant": self.variant, "os.version": self.os_version, "os.features": self.os_features}
        return {**self.other, "os": self.os, "architecture": self.architecture, **without_empty(known)}


def _variant(platform: Platform) -> str:
    return platform.variant or _DEFAULT_VARIANTS.get(platform.architecture, "")


def platform_of(machine: str) -> Platform:
    """Return the Linux platform of `machine`, as `os.uname().machine` spells it; unknown ones keep their name."""
    architecture, variant = architecture_of(machine)
    return Platform("linux", architecture, variant)


def parse_platform(text: str) -> Platform:
    """Return the platform that `OS/ARCHITECTURE[/VARIANT]` or a Linux architecture alone means (InvalidInput)."""
    parts = text.split("/")
    if len(parts) > 3 or not all(
        part and all(c.isalnum() or c in "._-" for c in part) and part.isascii() for part in parts
    ):
        raise InvalidInput("use the platform", repr(text), "it is not OS/ARCHITECTURE or OS/ARCHITECTURE/VARIANT")
    if len(parts) == 1:
        parts.insert(0, "linux")
    architecture = parts[1].lower()
    return Platform(parts[0].lower(), _SPELLINGS.get(architecture, architecture), parts[2].lower() if parts[2:] else "")


def read_platform(fields: Fields) -> Platform:
    """Return the platform that JSON `fields` describe."""
    return Platform(
        os=fields.needed_text("os"),
        architecture=fields.needed_text("architecture"),
        variant=fields.text("variant"),
        os_version=fields.text("os.version"),
        os_features=fields.texts("os.features") or (),
        other=fields.rest(),
    )
