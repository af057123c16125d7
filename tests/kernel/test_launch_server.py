"""The process that serves a mount of our own driver: outside of what it serves, and there for as long as the mount."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.helpers.boxes import children_of, expect_gone, read_line, running
from tests.helpers.command import Lamina
from tests.helpers.servers import servers

pytestmark = pytest.mark.requires("userns", "fuse")

# Reads a file that only a server can have, and looks at all processes that it sees.
_LOOK = """
read answer
cat /etc/passwd >/dev/null && echo answers
for one in /proc/[0-9]*/cmdline; do tr '\\0' ' ' <$one; done | grep -c 'lamina[.]overlay[.]fuse'
readlink /proc/self/ns/pid
read answer
"""


def server_among(pids: set[int]) -> int:
    (server,) = (pid for pid in pids if b"lamina.overlay.fuse" in Path(f"/proc/{pid}/cmdline").read_bytes())
    return server


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def numbers_of(pid: int | str) -> int:
    """Return in how many pid namespaces, from this one inwards, the process has a number."""
    (line,) = (line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("NSpid:"))
    return len(line.split()) - 1


def test_a_container_s_server_is_the_callers(lamina: Lamina) -> None:
    words = ("run", "--rm", "-i", "--driver", "fuse", "host", "sh", "-c", f"echo ready; {_LOOK}")
    with running(lamina, *words, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        with process.stdin as answers:
            read_line(process, "ready")
            family = children_of(process.pid)
            server = server_among(family)
            mine = os.readlink("/proc/self/ns/pid")
            assert os.readlink(f"/proc/{server}/ns/pid") == mine and numbers_of(server) == numbers_of("self")
            assert parent_of(server) == process.pid, "not of the process that mounted, which becomes the container's"
            assert any(numbers_of(pid) > numbers_of("self") for pid in family)

            answers.write(b"\n")
            answers.flush()
            read_line(process, "answers")
            read_line(process, "0")
            assert process.stdout is not None
            assert process.stdout.readline().strip() not in (b"", mine.encode())
        process.wait()
        expect_gone(family)


@pytest.mark.requires("mounts")
def test_a_mount_s_server_outlives_the_command(lamina: Lamina, scratch: Path) -> None:
    expect_a_server_that_stays(lamina, scratch)


@pytest.mark.requires("user", "fusermount3")
def test_a_user_s_mount_s_server_outlives_the_command(lamina: Lamina, scratch: Path) -> None:
    expect_a_server_that_stays(lamina, scratch)


def expect_a_server_that_stays(lamina: Lamina, scratch: Path) -> None:
    for name in ("base", "upper", "work", "merged"):
        (scratch / name).mkdir()
    (scratch / "base/file").write_text("text")
    lamina("mount", "--driver", "fuse", "--layer", "base", "--upper", "upper", "--work", "work", "merged")
    try:
        (server,) = servers(scratch)
        assert os.readlink(f"/proc/{server}/ns/pid") == os.readlink("/proc/self/ns/pid")
        os.rename(scratch / "merged/file", scratch / "merged/other")
        assert (scratch / "merged/other").read_text() == "text"
    finally:
        lamina("umount", "merged")
    expect_gone({server})
    assert sorted(os.listdir(scratch / "upper")) == ["file", "other"]
