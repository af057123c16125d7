"""The jobs on layers as an ordinary user's store runs them: in a helper inside the user's own id map."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from lamina.errors import InvalidInput
from lamina.events import Event
from lamina.ids.map import choose
from lamina.ids.worker import Fd, Helper
from lamina.layer import jobs
from lamina.overlay.format import USER
from lamina.tar import entry as kinds
from tests.helpers.archives import archive, directory, item

pytestmark = pytest.mark.requires("user")


@pytest.fixture
def helper() -> Iterator[Helper]:
    worker = Helper(choose(os.getuid(), os.getgid()))
    yield worker
    worker.close()


def _apply(helper: Helper, path: Path, staging: Path, events: list[Event], expected: str = "") -> dict[str, object]:
    with path.open("rb") as file:
        return helper.call(
            jobs.apply_layer, stream=Fd(file.fileno()), staging=str(staging), below=[], owners_below=[], space=USER,
            single_id=helper.ids.kind == "single", expected_diff_id=expected, on_event=events.append,
        )  # fmt: skip


def test_a_layer_lives_and_dies_in_the_map(scratch: Path, helper: Helper) -> None:
    odd = b"odd \xff"
    path = archive(
        scratch / "tar", directory(b"./"), directory(b"d/", uid=6, gid=6, mode=0o700), item(b"d/f", uid=1000, gid=4),
        item(odd, content=b"x" * 100), item(b"null", kinds.CHARDEV, major=1, minor=3),
    )  # fmt: skip
    events: list[Event] = []
    said = _apply(helper, path, scratch / "layer", events)
    assert said["entries"] == 5 and said["size"] == path.stat().st_size
    assert [event.finished for event in events][-1] and events[-1].done == path.stat().st_size
    with (scratch / "again").open("xb") as out:
        made = helper.call(jobs.assemble_layer, layer=str(scratch / "layer"), out=Fd(out.fileno()))
    assert made == {"diff_id": said["diff_id"], "size": said["size"]}
    assert (scratch / "again").read_bytes() == path.read_bytes()
    owner = (scratch / "layer/tree/d").stat().st_uid
    assert (owner == os.getuid()) == (helper.ids.kind == "single")
    helper.call(jobs.remove_tree, path=str(scratch / "layer"))
    assert not (scratch / "layer").exists()


def test_errors_come_back_as_they_are(scratch: Path, helper: Helper) -> None:
    with pytest.raises(InvalidInput, match=r"cannot apply \.\./x: the name leads upwards"):
        _apply(helper, archive(scratch / "tar", item(b"../x")), scratch / "layer", [])
    assert not list((scratch / "layer").iterdir())
