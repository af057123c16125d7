"""What a test leaves behind is seen: descriptors, processes, threads, temporary files."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import threading

import pytest

from tests.helpers import leaks
from tests.helpers.wait import until


def test_each_kind_is_seen_and_named() -> None:
    before = leaks.holdings()
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait, name="forgotten")
    file_fd, path = tempfile.mkstemp()
    child = subprocess.Popen(["sleep", "1000"])
    thread.start()
    try:
        with pytest.raises(AssertionError) as caught:
            leaks.expect_none(before, seconds=0.0)
    finally:
        stop.set()
        thread.join()
        child.kill()
        child.wait()
        os.close(file_fd)
        os.unlink(path)
    said = str(caught.value)
    for what in (f"descriptor {file_fd} -> {path}", f"process {child.pid}", "thread forgotten", f"file {path}"):
        assert what in said


def test_what_was_there_before_and_is_gone_is_seen() -> None:
    read_fd, write_fd = os.pipe()
    before = leaks.holdings()
    os.close(read_fd)
    os.close(write_fd)
    with pytest.raises(AssertionError, match="taken away: descriptor"):
        leaks.expect_none(before)


def test_an_orphan_of_a_command_is_seen() -> None:
    before = leaks.holdings()
    done = subprocess.run(
        ["sh", "-c", "sleep 1000 >/dev/null 2>&1 & echo $!"], capture_output=True, text=True, check=True
    )
    orphan = int(done.stdout)
    try:
        with pytest.raises(AssertionError, match=f"process {orphan} "):
            leaks.expect_none(before, seconds=0.0)
    finally:
        os.kill(orphan, signal.SIGKILL)
        until(lambda: not leaks.holdings() - before, "the orphan is reaped")
