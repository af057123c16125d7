"""Directory trees that tests make."""

from __future__ import annotations

import os
import shutil
import subprocess


def remove_tree(path: str) -> None:
    """Remove a tree, also one with closed directories or, for a user with a range, with files of mapped ids."""
    for folder, names, _ in os.walk(path):
        for name in names:  # before the walk looks into them: overlayfs makes work/work with mode 0
            if not os.path.islink(f"{folder}/{name}"):
                try:
                    os.chmod(f"{folder}/{name}", 0o700)
                except PermissionError:  # a mapped id owns it
                    pass
    try:
        shutil.rmtree(path)
    except PermissionError:
        if os.geteuid() == 0:
            raise
        subprocess.run(["unshare", "--user", "--map-auto", "--map-root-user", "rm", "-rf", path], check=True)
