"""`lamina run` and what follows it, over this machine's own files: no image has to be made for it."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from tests.helpers.command import Lamina

pytestmark = pytest.mark.requires("overlay", "userns")


def test_the_command_is_run_as_asked(lamina: Lamina, scratch: Path) -> None:
    (scratch / "env").write_text("# names\nFROM_FILE=file\nBOTH=file\nHERE\n")
    (scratch / "bound").mkdir()
    (scratch / "bound" / "file").write_text("bound\n")
    words = [
        "--rm", "-i", "-e", "ONE=1 2", "--env=BOTH=option", "-eHERE", "--env-file", "env", "-w", "/usr",
        "--hostname", "box", "-v", "./bound:/mnt:ro", "--tmpfs", "/media:size=1m", "--add-host", "db:10.0.0.1",
        "--label", "a=b",         "--ulimit", "nofile=100:200", "--security-opt", "no-new-privileges",
    ]  # fmt: skip
    look = (
        'echo "$ONE|$BOTH|$HERE|$FROM_FILE"; pwd; cat /proc/sys/kernel/hostname /mnt/file;'
        "grep 10.0.0.1 /etc/hosts; ulimit -n;"
        "grep -c ' /media tmpfs' /proc/self/mounts; touch /mnt/no 2>/dev/null || echo read-only;"
        "grep NoNewPrivs /proc/self/status; cat"
    )
    done = lamina("run", *words, "host", "sh", "-c", look, input="in\n", env={"HERE": "here"})
    lines = [line.replace("\t", " ") for line in done.lines()]
    assert lines == [
        "1 2|option|here|file", "/usr", "box", "bound", "10.0.0.1 db", "100", "1", "read-only", "NoNewPrivs: 1", "in",
    ]  # fmt: skip
    assert done.stderr == ""
    assert json.loads(lamina("ps", "-a", "--format", "json").stdout) == []


@pytest.mark.requires("root", "fuse")
def test_our_driver_shows_root_the_hosts_owners(lamina: Lamina, scratch: Path) -> None:
    (scratch / "theirs").write_text("theirs")
    os.chown(scratch / "theirs", 1000, 1001)
    code = 'cd "$1"; stat -c "%u %g" theirs; chown 5:6 theirs; stat -c "%u %g" theirs; ls -d /proc/1 /dev/null'
    done = lamina("run", "--rm", "--driver", "fuse", "host", "sh", "-c", code, "sh", os.fspath(scratch))
    assert done.lines() == ["1000 1001", "5 6", "/dev/null", "/proc/1"]
    assert (scratch / "theirs").stat().st_uid == 1000


def test_a_container_is_kept_seen_committed_and_removed(lamina: Lamina, scratch: Path) -> None:
    code = "echo new >/etc/lamina-made && rm /etc/hostname.none 2>/dev/null; exit 3"
    lamina("run", "--name", "box", "--label", "k=v", "--cidfile", "cid", "host", "--", "sh", "-c", code, status=3)
    made = (scratch / "cid").read_text()
    assert re.fullmatch("[0-9a-f]{64}", made)
    (row,) = json.loads(lamina("ps", "--all", "--format", "json").stdout)
    assert {name: row[name] for name in ("Id", "Name", "Image", "ImageId", "Status", "ExitCode", "Labels")} == {
        "Id": made, "Name": "box", "Image": "host", "ImageId": "",
        "Status": "exited", "ExitCode": 3, "Labels": {"k": "v"},
    }  # fmt: skip
    assert row["Command"] == ["sh", "-c", code] and row["CommandLine"].startswith("sh -c ")
    assert row["Created"].endswith("Z") and row["Started"].endswith("Z") and row["Finished"].endswith("Z")
    assert lamina("ps").lines() == ["CONTAINER ID   NAME   IMAGE   COMMAND   CREATED   STATUS"]
    assert lamina("ps", "-aq").lines() == [made[:12]]
    assert re.search(r"box +host +sh -c .* +Exited \(3\) ", lamina("ps", "-a").stdout)

    assert "A /etc/lamina-made" in lamina("diff", "box").lines()
    changes = json.loads(lamina("diff", made[:8], "--format", "json").stdout)
    assert {"Kind": "A", "Path": "/etc/lamina-made"} in changes
    assert not os.path.lexists("/etc/lamina-made")
    assert json.loads(lamina("inspect", "box").stdout)[0]["Id"] == made
    picture = lamina("show", "box").stdout
    assert "(writable)" in picture and "A /etc/lamina-made" in picture and "box" in picture.splitlines()[0]

    image = lamina("commit", "-m", "made", "box", "kept:1").stdout.strip()
    assert image.startswith("sha256:")
    assert lamina("run", "--rm", "kept:1", "cat", "/etc/lamina-made").stdout == "new\n"
    assert lamina("run", "--name", "box", "host", "true", status=125).stderr.startswith(
        "lamina: cannot name a container box"
    )
    assert lamina("rm", "box").stdout == "box\n"
    assert lamina("ps", "-aq").stdout == ""


def test_commit_after_a_run(lamina: Lamina) -> None:
    lamina("run", "--commit", "new:1", "host", "sh", "-c", "echo x >/etc/lamina-made")
    assert lamina("run", "--rm", "new:1", "cat", "/etc/lamina-made").stdout == "x\n"
    assert lamina("ps", "-aq").stdout == "", "what became an image is not kept twice"
    done = lamina("run", "--name", "failed", "--commit", "new:2", "host", "sh", "-c", "exit 4", status=4)
    assert done.stderr == "lamina: not committed, since the command ended with status 4: failed has its changes\n"
    assert lamina("ps", "-a", "--format", "json").stdout.count('"Name": "failed"') == 1
    assert len(lamina("images", "-q").lines()) == 1


def test_statuses(lamina: Lamina) -> None:
    def status(*words: str) -> int:
        return lamina("run", "--rm", *words, status=None).status

    assert status("host", "sh", "-c", "exit 7") == 7
    assert status("--init", "host", "sh", "-c", "kill -TERM $$; sleep 5") == 143
    assert status("host", "no-such-command") == 127
    assert status("host", "/etc/passwd") == 126
    assert status("no-such-image:1", "true") == 125
    assert status("--workdir", "relative", "host", "true") == 125
    assert status("--volume", "x", "host", "true") == 2
    assert lamina("ps", "-aq").stdout == "", "--rm also removes what did not start"


def test_the_id_file_is_new(lamina: Lamina, scratch: Path) -> None:
    (scratch / "cid").write_text("mine")
    done = lamina("run", "--cidfile", "cid", "host", "true", status=125)
    assert done.stderr.startswith("lamina: cannot write the container's id to cid: ")
    assert (scratch / "cid").read_text() == "mine"
    assert lamina("ps", "-aq").stdout == ""


def test_nobody_says_yes(lamina: Lamina) -> None:
    done = lamina("prune", status=125)
    assert done.stderr == "lamina: cannot prune: nobody said yes\nhint: --force does it without asking\n"
