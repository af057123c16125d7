"""Many processes on one store: nothing that is reported is lost, nothing is half there, nothing needed is collected."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from lamina.errors import LaminaError
from lamina.ids.worker import Here
from lamina.oci.reference import parse_name
from lamina.store.collect import collect
from lamina.store.containers import create_container
from lamina.store.images import find_image
from lamina.store.publish import documents_of, tag_image
from lamina.store.references import list_references
from lamina.store.staging import Staging
from tests.helpers.stores import add_image, open_store, things

ROUNDS = 12


def _at_once(*functions: Callable[[], None]) -> None:
    """Run each function in a process of its own, and fail if one raises."""
    children = []
    for function in functions:
        child = os.fork()
        if child == 0:
            status = 1
            try:
                function()
                status = 0
            except Exception:  # noqa: BLE001  # the parent sees the status
                traceback.print_exc(file=sys.__stderr__)
            finally:
                os._exit(status)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * len(children)


def test_a_store_is_made_once(store_path: Path) -> None:
    def make() -> None:
        assert open_store(store_path).root == str(store_path)

    _at_once(*[make] * 6)


def test_all_names_arrive_and_the_index_shows_them(store_path: Path) -> None:
    def publish(who: int) -> None:
        layout = open_store(store_path)
        for n in range(ROUNDS):
            add_image(layout, f"me/app:{who}-{n}", "shared", f"content {n}")

    _at_once(*[lambda who=who: publish(who) for who in range(4)])
    layout = open_store(store_path)
    names = {str(reference) for reference, _ in list_references(layout)}
    assert names == {f"docker.io/me/app:{who}-{n}" for who in range(4) for n in range(ROUNDS)}
    index = json.loads((store_path / "index.json").read_text())
    assert {entry["annotations"]["io.containerd.image.name"] for entry in index["manifests"]} == names
    assert len(list((store_path / "layers").iterdir())) == ROUNDS + 1
    assert os.listdir(store_path / "staging") == []


def test_one_of_many_gets_the_name(store_path: Path) -> None:
    layout = open_store(store_path)
    image = add_image(layout, "base:1", "one")
    won = store_path.parent / "won"
    won.mkdir()

    def create(who: int) -> None:
        try:
            with Staging(layout) as staging, layout.publishing():
                create_container(
                    staging, image, image_name="base:1", name="box", command=[], labels={}, created=0, durable=False
                )
            (won / str(who)).touch()
        except LaminaError:
            pass

    _at_once(*[lambda who=who: create(who) for who in range(6)])
    assert len(os.listdir(won)) == 1 and len(os.listdir(store_path / "containers")) == 1


def test_collecting_beside_publishing_takes_nothing_that_is_needed(store_path: Path) -> None:
    layout = open_store(store_path)
    kept = add_image(layout, "base:1", "one")

    def publish(who: int) -> None:
        for n in range(ROUNDS):
            image = add_image(layout, f"me/app:{who}", "one", f"{who} {n % 3}")
            with Staging(layout) as staging:
                tag_image(staging, image, parse_name(f"me/other:{who}"))
            found = find_image(layout, f"me/app:{who}")
            documents_of(layout, found.manifest, found.layers)
            for tree in found.trees(layout):
                assert os.listdir(tree) == ["file"]

    def take() -> None:
        worker = Here(layout.ids)
        for _ in range(ROUNDS):
            collect(layout, worker, containers=True, unused_images=False)

    _at_once(*[lambda who=who: publish(who) for who in range(3)], take, take)
    assert find_image(layout, "base:1").id == kept.id
    for who in range(3):
        image = find_image(layout, f"me/other:{who}")
        documents_of(layout, image.manifest, image.layers)
        assert all(os.path.isdir(tree) for tree in image.trees(layout))
    assert "layers/" + kept.layers[0] in things(store_path)
