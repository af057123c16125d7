"""buildah as a second opinion on the corpus of builds: over a storage of its own, as root or as an ordinary user.

tests/golden/builds/buildah.txt lists the cases where it is known to differ from BuildKit, with the reasons.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.helpers.corpus import GOLDEN, Case, read_names

_CONFIGURATION = """\
[containers]
default_ulimits = []
[engine]
cgroup_manager = "cgroupfs"
"""

#: What it does not know by that name, or has to be told.
_WORDS = ("bud", "--quiet", "--pull-never", "--no-cache", "--format=docker", "--isolation=chroot")


class Buildah:
    """The program over a storage in `folder`, which has the image in the archive `base`; `empty` before it goes."""

    def __init__(self, folder: Path, base: Path) -> None:
        folder.mkdir()
        self._folder = folder
        (folder / "containers.conf").write_text(_CONFIGURATION)
        self._run("pull", "--quiet", f"docker-archive:{base}", cwd=folder)

    def build(self, case: Case, folder: Path) -> Path:
        """Build a case in an empty folder and return the archive of the image (`corpus.Builder`)."""
        context = case.lay_out(folder)
        if case.parent:
            self._run(*_WORDS, "-t", f"parent:{case}", ".", cwd=case.lay_out_parent(folder))
        archive = folder / "image.tar"
        self._run(*_WORDS, *case.options, "-t", f"docker-archive:{archive}:case:{case}", ".", cwd=context)
        return archive

    def empty(self) -> None:
        """Remove the storage: files of mapped ids need the program itself."""
        inside = [] if os.geteuid() == 0 else [*self._argv(), "unshare"]
        subprocess.run([*inside, "rm", "-rf", "root", "run"], cwd=self._folder, check=True)

    def _argv(self) -> list[str]:
        # Root's leaves mounts behind where a build fails; an ordinary user's is in a mount namespace of its own anyway.
        private = ["unshare", "--mount", "--propagation", "private"] if os.geteuid() == 0 else []
        return [*private, "buildah", "--root", str(self._folder / "root"), "--runroot", str(self._folder / "run")]

    def _run(self, *words: str, cwd: Path) -> None:
        env = {
            **os.environ,
            "CONTAINERS_CONF": str(self._folder / "containers.conf"),
            "XDG_RUNTIME_DIR": str(self._folder),
            "STORAGE_DRIVER": "overlay",
        }
        done = subprocess.run(
            [*self._argv(), *words],
            cwd=cwd,
            env=env,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == 0, done.stderr


def read_differences() -> frozenset[str]:
    """Return the names of the cases in which buildah does something else than BuildKit."""
    return read_names(GOLDEN / "buildah.txt")
