"""Modules that no start of a container can afford."""

from __future__ import annotations

#: What costs milliseconds to import and so has no place between the command line and the container's process.
HEAVY = {
    "argparse",
    "asyncio",
    "contextlib",
    "dataclasses",
    "enum",
    "inspect",
    "json",
    "logging",
    "pathlib",
    "re",
    "rich",
    "shutil",
    "subprocess",
    "tempfile",
    "typing",
    "urllib",
}
