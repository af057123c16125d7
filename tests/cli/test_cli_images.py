"""Images on the command line: import, images, tag, inspect, history, show, rmi, prune. Nothing runs in them here."""

from __future__ import annotations

import gzip
import json
import signal
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.helpers.command import Lamina, program
from tests.helpers.wait import until


@pytest.fixture
def rootfs(scratch: Path) -> Path:
    """Return a directory that could be a root file system."""
    top = scratch / "rootfs"
    (top / "etc").mkdir(parents=True)
    (top / "etc" / "issue").write_text("hello\n")
    (top / "bin").mkdir()
    (top / "bin" / "sh").write_bytes(b"\x7fELF" + bytes(996))
    return top


@pytest.fixture
def archive(rootfs: Path, scratch: Path) -> Path:
    """Return the same as a tar."""
    path = scratch / "rootfs.tar"
    with tarfile.open(path, "w") as tar:
        tar.add(rootfs, ".")
    return path


def test_an_image_comes_is_seen_and_goes(lamina: Lamina, archive: Path) -> None:
    done = lamina("import", "--change", 'CMD ["sh", "-c", "x"]', "-c", "ENV A=b", "-m", "from a tar", archive, "mine:1")
    image = done.stdout.strip()
    assert image.startswith("sha256:") and len(done.lines()) == 1
    header, line = lamina("images").lines()
    assert header.split() == ["REPOSITORY", "TAG", "IMAGE", "ID", "CREATED", "SIZE"]
    assert line.split()[:3] == ["mine", "1", image[7:19]]
    assert lamina("images", "-q").lines() == [image[7:19]]
    assert lamina("images", "-q", "--no-trunc").lines() == [image]

    lamina("tag", "mine:1", "yours")
    rows = json.loads(lamina("images", "--format", "json").stdout)
    assert [(row["Repository"], row["Tag"], row["Name"], row["Id"]) for row in rows] == [
        ("mine", "1", "mine:1", image),
        ("yours", "latest", "yours:latest", image),
    ]
    assert set(rows[0]) == {
        "Id",
        "Name",
        "Repository",
        "Tag",
        "Digest",
        "Created",
        "Size",
        "Layers",
        "Platform",
        "Type",
    }
    assert rows[0]["Layers"] == 1 and rows[0]["Size"] >= 1006 and rows[0]["Created"].endswith("Z")

    (inspected,) = json.loads(lamina("inspect", "mine:1").stdout)
    assert inspected["Id"] == image
    assert json.loads(lamina("inspect", "--format", "json", image[7:15], "yours").stdout) == [inspected, inspected]
    (step,) = json.loads(lamina("history", "--format", "json", "mine:1").stdout)
    assert set(step) == {"DiffId", "Created", "CreatedBy", "Author", "Comment", "Size", "Empty"}
    assert step["Comment"] == "from a tar" and not step["Empty"]
    assert len(lamina("history", "mine:1").lines()) == 2

    assert "yours" in lamina("rmi", "yours").stdout
    assert len(lamina("images").lines()) == 2
    lamina("rmi", image[7:19])
    assert len(lamina("images").lines()) == 1
    assert lamina("images", "--format", "json").stdout == "[]\n"
    assert lamina("prune", "--force").stdout.startswith("freed ")


def test_where_a_root_file_system_comes_from(lamina: Lamina, rootfs: Path, archive: Path, scratch: Path) -> None:
    compressed = scratch / "rootfs.tar.gz"
    compressed.write_bytes(gzip.compress(archive.read_bytes()))
    ids = {lamina("import", source, "a").stdout for source in (archive, compressed)}
    ids.add(lamina("import", "-", "a", input=archive.read_bytes()).stdout)
    assert len(ids) == 3  # each was made at its own time
    layers = {json.loads(lamina("inspect", made.strip()).stdout)[0]["RootFS"]["Layers"][0] for made in ids}
    assert len(layers) == 1
    lamina("import", rootfs, "directory:1")
    assert "directory" in lamina("images").stdout


def test_show(lamina: Lamina, archive: Path) -> None:
    lamina("import", archive, "mine:1")
    lines = lamina("show", "mine:1").lines()
    assert "mine:1" in lines[0]
    assert any("merged │" in line for line in lines) and any("lower │" in line for line in lines)
    assert any("A /etc/ (2 names)" in line for line in lines) and any("4 added" in line for line in lines)
    assert {len(line) for line in lines if "│" in line} == {80}
    plain = lamina("show", "mine:1", env={"PYTHONIOENCODING": "ascii"}).stdout
    assert plain.isascii() and "merged |" in plain
    assert {len(line) for line in lamina("show", "mine:1", env={"COLUMNS": "60"}).lines() if "│" in line} == {60}


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["import", "none.tar", "a"], "none.tar"),
        (["import", "rubbish", "a"], "rubbish"),
        (["import", "cut.tar", "a"], "cut.tar"),
        (["import", "empty", "a"], "empty"),
        (["import", "-", "a"], "standard input"),
        (["import", "rootfs.tar", "A:b:c"], "A:b:c"),
        (["import", "rootfs.tar", "a@sha256:00"], "sha256:00"),
        (["import", "rootfs.tar", "UPPER"], "UPPER"),
        (["import", "--change", "FROM x", "rootfs.tar", "a"], "FROM x"),
        (["tag", "none", "a"], "none"),
        (["tag", "none", "a:-"], "a:-"),
        (["inspect", "none"], "none"),
        (["history", "none"], "none"),
        (["show", "none"], "none"),
        (["rmi", "none"], "none"),
        (["run", "none"], "none"),
        (["commit", "none", "a"], "none"),
        (["diff", "none"], "none"),
        (["rm", "none"], "none"),
        (["prune"], "--force"),
        (["bootstrap", "no/such suite", "a"], "no/such suite"),
    ],
)
def test_what_cannot_be(lamina: Lamina, archive: Path, scratch: Path, words: list[str], names: str) -> None:
    (scratch / "rubbish").write_bytes(b"not a tar at all")
    (scratch / "cut.tar").write_bytes(archive.read_bytes()[:700])
    (scratch / "empty").write_bytes(b"")
    done = lamina(*words, status=125)
    lines = done.stderr.splitlines()
    assert lines[0].startswith("lamina: ") and names in done.stderr and done.stdout == ""
    assert len(lines) == 1 or (len(lines) == 2 and lines[1].startswith("hint: "))
    assert json.loads(lamina("images", "-a", "--format", "json").stdout) == []


def test_removing_goes_on_after_what_cannot_be_removed(lamina: Lamina, rootfs: Path) -> None:
    lamina("import", rootfs, "a")
    done = lamina("rmi", "none", "a", "neither", status=125)
    assert "a:latest" in done.stdout and len(done.stderr.splitlines()) == 3
    assert lamina("rmi", "--force", "none").stdout == ""
    assert lamina("rmi", "--all").stdout == ""


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143 - 14)])
def test_a_signal_leaves_nothing_half_made(lamina: Lamina, archive: Path, number: signal.Signals, status: int) -> None:
    lamina("images")
    process = subprocess.Popen(
        [*program(), "import", "-", "cut:1"],
        # Warnings as a user has them: amid an import, the signal leaves a file of Python's to the collector.
        env={**lamina.environment(), "PYTHONWARNINGS": ""},
        cwd=lamina.cwd,
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdin is not None and process.stderr is not None
    with process.stdin, process.stderr:
        process.stdin.write(archive.read_bytes()[:2048])
        process.stdin.flush()
        until(lambda: any((lamina.store / "staging").glob("*/*")), "the import has begun")
        process.send_signal(number)
        process.stdin.close()  # a thread may be reading it
        assert (process.wait(30), process.stderr.read()) == (status, b"")
    assert lamina("images", "-aq").stdout == ""
    assert not list((lamina.store / "staging").iterdir())
