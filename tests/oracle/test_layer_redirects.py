"""A directory of a layer that our own driver renamed is whole in the layer made of it, for whoever reads that."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from lamina.oci.digest import BlobDigest
from tests.helpers.command import Lamina, run
from tests.helpers.rootfs import PROGRAMS, make_rootfs

pytestmark = pytest.mark.requires("userns", "overlay", "fuse", "tar")

# A redirect, one within what it leads to, a name deleted there, one made, and the old name used again.
_RENAME = (
    "mv /docs /papers && mv /papers/deep /papers/deeper && rm /papers/gone && echo new >/papers/made &&"
    " mkdir /docs && echo fresh >/docs/fresh"
)
_LOOK = "ls -A /docs /papers /papers/deeper; cat /docs/* /papers/made /papers/one /papers/deeper/two"
_SHOWN = [
    "/docs:", "fresh", "", "/papers:", "deeper", "made", "one", "", "/papers/deeper:", "two", "fresh", "new", "1", "2",
]  # fmt: skip


@pytest.fixture
def rootfs(scratch: Path) -> Path:
    top = scratch / "rootfs"
    make_rootfs(top, (*PROGRAMS, "mv"))
    (top / "docs/deep").mkdir(parents=True)
    for name, text in (("one", "1\n"), ("gone", ""), ("deep/two", "2\n")):
        (top / "docs" / name).write_text(text)
    return top


def redirects_in(upper: str) -> list[str]:
    """Return which directories at the top of an upper have a redirect, in either spelling."""
    found = []
    for entry in os.scandir(upper):
        names = os.listxattr(entry.path, follow_symlinks=False)
        found += [entry.name for name in names if name.endswith(".overlay.redirect")]
    return found


def layer_archive(directory: Path) -> Path:
    """Return the archive of the topmost layer of the one image in an OCI layout."""

    def blob(descriptor: dict[str, Any]) -> Path:
        digest = BlobDigest(descriptor["digest"])
        return directory / "blobs" / digest.replace(":", "/")

    (described,) = json.loads((directory / "index.json").read_bytes())["manifests"]
    return blob(json.loads(blob(described).read_bytes())["layers"][-1])


def test_renamed_committed_saved_and_unpacked(lamina: Lamina, rootfs: Path, scratch: Path) -> None:
    lamina("import", rootfs, "tiny:1")
    lamina("run", "--name", "box", "--driver", "fuse", "tiny:1", "sh", "-c", _RENAME)
    (box,) = json.loads(lamina("inspect", "box").stdout)
    assert redirects_in(box["GraphDriver"]["Data"]["UpperDirs"]["/"]) == ["papers"]

    assert lamina("diff", "box").lines() == [
        "C /docs", "D /docs/deep", "A /docs/fresh", "D /docs/gone", "D /docs/one", "A /papers", "A /papers/deeper",
        "A /papers/deeper/two", "A /papers/made", "A /papers/one",
    ]  # fmt: skip
    lamina("commit", "box", "kept:1")
    for driver in ("kernel", "fuse"):
        assert lamina("run", "--rm", "--driver", driver, "kept:1", "sh", "-c", _LOOK).lines() == _SHOWN

    lamina("save", "--format", "oci-dir", "--output", "saved", "kept:1")
    archive = layer_archive(scratch / "saved")
    names = [name.removeprefix("./").rstrip("/") for name in run(["tar", "-tf", str(archive)]).lines()]
    papers = {"papers", "papers/deeper", "papers/deeper/two", "papers/made", "papers/one"}
    assert {name for name in names if name.startswith("papers")} == papers
    assert b"overlay.redirect" not in archive.read_bytes()
    (scratch / "unpacked").mkdir()
    run(["tar", "--xattrs", "--xattrs-include=*", "-C", str(scratch / "unpacked"), "-xf", str(archive)])
    assert (scratch / "unpacked/papers/deeper/two").read_text() == "2\n"
    assert (scratch / "unpacked/papers/made").read_text() == "new\n"
    assert sorted(set(os.listdir(scratch / "unpacked/docs")) & {"fresh", "one"}) == ["fresh"]
