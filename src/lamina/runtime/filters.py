"""Where the compiled filter of a container's system calls lies, and making it where it is not there yet.

On the start-up path: the default profile is compiled once for each set of capabilities and machine, and kept in the
store; a start reads a file. `lamina.runtime.profile` compiles.
"""

from __future__ import annotations

import os

from lamina.errors import Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

UNCONFINED = "unconfined"

#: Of the default profile and of how it is compiled: part of the names of what is kept.
_VERSION = 1


def filter_path(profile: str, capabilities: Iterable[int], *, kept: str, directory: str) -> str:
    """Return where the filter for a profile lies; empty for the profile "unconfined".

    The default profile, "", has its in the directory `kept`, by what it depends on; another file's is compiled for each
    start, into the container's own `directory`.
    """
    if profile == UNCONFINED:
        return ""
    if profile:
        return f"{directory}/seccomp"
    mask = sum(1 << number for number in capabilities)
    return f"{kept}/default-{_VERSION}-{os.uname().machine}-{mask:x}"


def ensure_filter(path: str, profile: str, capabilities: Iterable[int]) -> str:
    """Make the filter at `path` unless it is kept there; return what a person should know, or nothing.

    Without libseccomp there is no default filter, which is told; a profile that was asked for raises Unsupported then,
    and InvalidInput where it is none.
    """
    if not profile and os.path.exists(path):
        return ""
    from lamina.runtime.profile import DEFAULT, Surroundings, compile_rules, read_profile

    rules = read_profile(profile or DEFAULT, Surroundings.here(capabilities))
    try:
        program = compile_rules(rules)
    except Unsupported as error:
        if profile:
            raise
        return f"system calls are not filtered: {error.subject} is not installed ({error.hint})"
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    new = f"{path}.{os.urandom(4).hex()}"
    with open(new, "wb") as file:
        file.write(program)
    os.rename(new, path)
    return ""


def read_filter(path: str) -> bytes:
    """Return the filter at `path`, or nothing where there is none: `ensure_filter` told."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return b""
