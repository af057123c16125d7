"""The settings of this machine's apt that decide how packages are fetched: proxies, certificates, retries, dates."""

from __future__ import annotations

import subprocess

from lamina.ids.subid import find_program

# What says where and how to fetch; everything else of apt's configuration is about the machine that it is on.
_FETCHING = (
    "Acquire::http::",
    "Acquire::https::",
    "Acquire::ftp::",
    "Acquire::Retries",
    "Acquire::ForceIPv",
    "Acquire::Check-Valid-Until",
    "Acquire::Check-Date",
    "Acquire::Max-FutureTime",
)


def apt_settings() -> str:
    """Return the lines of this machine's configuration that are about fetching, as apt.conf(5) has them."""
    program = find_program("apt-config")
    if program is None:
        return ""
    done = subprocess.run([program, "dump"], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    return choose_settings(done.stdout.decode("utf-8", "replace"))


def choose_settings(dump: str) -> str:
    """Return those lines of `apt-config dump` that are about fetching and say something."""
    lines = [line for line in dump.splitlines() if line.startswith(_FETCHING) and not line.endswith(' "";')]
    return "".join(f"{line}\n" for line in lines)
