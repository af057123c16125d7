"""A defect of the server is an EIO for whoever met it, and is told: by umount, by the command's end, in a log."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from lamina.overlay.fuse.start import start
from lamina.overlay.stack import Overlay
from tests.helpers.command import Done, Lamina

pytestmark = pytest.mark.requires("mounts", "fuse")

# The union's end of the protocol, made to fail: Python loads this by itself in the server and nowhere else.
_DOUBLE = """
import sys
if "lamina.overlay.fuse" in sys.orig_argv:
    from lamina.overlay.fuse.serve import FileSystem
    def _readlink(self, request):
        raise ZeroDivisionError("no such handler")
    FileSystem._readlink = _readlink
"""


@pytest.fixture
def place(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("lower", "upper", "work", "merged", "double"):
        (scratch / name).mkdir()
    (scratch / "lower/link").symlink_to("file")
    (scratch / "lower/file").write_text("text\n")
    (scratch / "double/sitecustomize.py").write_text(_DOUBLE)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(scratch / "double"), os.environ.get("PYTHONPATH", "")]))
    return scratch


DIRECTORIES = ("--driver", "fuse", "--layer", "lower", "--upper", "upper", "--work", "work", "merged")


def meet(place: Path, *, times: int = 1) -> None:
    """Meet the defect, and see that what works still does."""
    for _ in range(times):
        with pytest.raises(OSError) as caught:
            os.readlink(place / "merged/link")
        assert caught.value.errno == errno.EIO
    assert (place / "merged/file").read_text() == "text\n"


def call(lamina: Lamina, *words: str | Path, debug: bool = False) -> Done:
    return lamina(*(["--debug"] if debug else []), *words, env={"PYTHONPATH": os.environ["PYTHONPATH"]})


def test_umount_tells(lamina: Lamina, place: Path) -> None:
    call(lamina, "mount", *DIRECTORIES)
    meet(place)
    done = call(lamina, "umount", "merged")
    assert done.stderr == "lamina: the server of the mount had a defect: ZeroDivisionError: no such handler\n"
    call(lamina, "mount", *DIRECTORIES)
    assert call(lamina, "umount", "merged").stderr == ""  # it was of the mount before
    call(lamina, "mount", *DIRECTORIES)
    meet(place, times=25)
    said = call(lamina, "umount", "merged", debug=True).stderr
    assert "Traceback" in said and "in _readlink" in said
    assert said.count("ZeroDivisionError: no such handler") == 21  # the note, and what one may want to see
    assert said.count("no more are written") == 1


def test_a_log_is_kept(lamina: Lamina, place: Path) -> None:
    for _ in range(2):
        call(lamina, "mount", "--log", "log", *DIRECTORIES)
        meet(place)
        assert call(lamina, "umount", "merged").stderr == ""
    assert (place / "log").read_text().count("ZeroDivisionError: no such handler") == 2


def test_the_end_of_a_command_tells(lamina: Lamina, place: Path) -> None:
    done = call(lamina, "mount", *DIRECTORIES, "--", "sh", "-c", "readlink merged/link; cat merged/file")
    assert done.stdout == "text\n"
    assert done.stderr == "lamina: the server of the mount had a defect: ZeroDivisionError: no such handler\n"


def test_a_server_that_cannot_start_says_why(place: Path) -> None:
    (place / "double/sitecustomize.py").write_text(_DOUBLE + "    raise SystemExit('no way')\n")
    overlay = Overlay([str(place / "lower")])
    with pytest.raises(Exception, match=r"the server ended with status 1: .*no way"):
        start(overlay, str(place / "merged"))
