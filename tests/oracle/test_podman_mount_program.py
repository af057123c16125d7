"""podman with lamina-overlayfs as its mount program (containers-storage.conf(5)) builds and runs an image."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.helpers.command import run

_DOCKERFILE = """\
FROM base:1
RUN echo built >/new && rm /etc/issue && mv /usr/share/doc /usr/share/moved
RUN cat /new && test -d /usr/share/moved && test ! -e /usr/share/doc
"""
# podman's crun refuses a machine with both cgroup trees, and root here may lack CAP_SYS_RESOURCE.
_SCRIPT = """\
set -eu
umount /sys/fs/cgroup/unified 2>/dev/null || true
podman import -q "$BASE_TAR" base:1 >/dev/null
podman build --network host -q -t built:1 "$1" >/dev/null
podman run --rm --network host --cgroups=disabled built:1 sh -c '
  cat /new; test -e /etc/issue || echo hidden; grep " / " /proc/mounts'
podman rmi -af >/dev/null
"""


@pytest.mark.requires("root", "fuse", "podman", "crun", "debian", "unshare")
def test_podman_builds_and_runs_over_it(scratch: Path) -> None:
    program = scratch / "lamina-overlayfs"
    code = "import sys; from lamina.cli.overlayfs import main; sys.exit(main())"
    source = Path(__file__).parents[2] / "src"
    program.write_text(f"#!/bin/sh\nPYTHONPATH={source} exec {sys.executable} -c '{code}' \"$@\"\n")
    program.chmod(0o755)
    (scratch / "storage.conf").write_text(
        f'[storage]\ndriver = "overlay"\nrunroot = "{scratch}/run"\ngraphroot = "{scratch}/root"\n'
        f'[storage.options.overlay]\nmount_program = "{program}"\n'
    )
    (scratch / "containers.conf").write_text(
        '[containers]\ndefault_ulimits = []\n[engine]\ncgroup_manager = "cgroupfs"\nruntime = "crun"\n'
    )
    context = scratch / "context"
    context.mkdir()
    (context / "Dockerfile").write_text(_DOCKERFILE)
    env = {
        **os.environ,
        "CONTAINERS_STORAGE_CONF": str(scratch / "storage.conf"),
        "CONTAINERS_CONF": str(scratch / "containers.conf"),
    }
    done = run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", _SCRIPT, "sh", str(context)],
        env=env,
        seconds=300,
    )
    built, hidden, mount = done.lines()
    assert (built, hidden) == ("built", "hidden")
    assert mount.split()[2] == "fuse.lamina"
