"""Removing images and containers, and collecting what nothing needs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from lamina.errors import Conflict, NotFound
from lamina.ids.worker import Helper
from lamina.oci.reference import parse_name
from lamina.store.collect import collect
from lamina.store.containers import ContainerRecord, create_container, find_container, hold_container, list_containers
from lamina.store.discard import remove_container
from lamina.store.images import find_image, list_images
from lamina.store.layout import Layout
from lamina.store.publish import tag_image
from lamina.store.remove import remove_image
from lamina.store.staging import Staging
from tests.helpers.stores import add_image, add_layer, open_store, things


@pytest.fixture
def layout(store_path: Path) -> Layout:
    return open_store(store_path)


@pytest.fixture
def worker(layout: Layout) -> Iterator[Helper]:
    helper = Helper(layout.ids)
    yield helper
    helper.close()


def _create(layout: Layout, name: str, image: str = "base:1") -> ContainerRecord:
    with Staging(layout) as staging, layout.publishing():
        return create_container(
            staging,
            find_image(layout, image),
            image_name=image,
            name=name,
            command=[],
            labels={},
            created=0,
            durable=False,
        )


def test_the_last_name_takes_the_image_with_it(layout: Layout, worker: Helper, store_path: Path) -> None:
    empty = things(store_path)
    image = add_image(layout, "base:1", "one", "two")
    with Staging(layout) as staging:
        tag_image(staging, image, parse_name("base:2"))
    first = remove_image(layout, worker, "base:1", force=False)
    assert (first.untagged, first.images, first.layers) == (("base:1",), (), ())
    second = remove_image(layout, worker, "base:2", force=False)
    assert (second.untagged, second.images, set(second.layers)) == (("base:2",), (image.id,), set(image.layers))
    assert second.size > 0
    assert things(store_path) == empty and os.listdir(store_path / "staging") == []
    with pytest.raises(NotFound):
        remove_image(layout, worker, "base:2", force=True)


def test_shared_layers_stay(layout: Layout, worker: Helper) -> None:
    base, derived = add_image(layout, "base:1", "one"), add_image(layout, "derived:1", "one", "two")
    assert remove_image(layout, worker, "base:1", force=False).layers == ()
    assert remove_image(layout, worker, derived.id, force=False).layers == tuple(dict.fromkeys(derived.layers))
    assert base.layers[0] in derived.layers


def test_several_names_need_force_by_id(layout: Layout, worker: Helper) -> None:
    image = add_image(layout, "base:1", "one")
    with Staging(layout) as staging:
        tag_image(staging, image, parse_name("me/base"))
    with pytest.raises(Conflict, match="several names: base:1, me/base:latest"):
        remove_image(layout, worker, image.id[7:19], force=False)
    removed = remove_image(layout, worker, image.id[7:19], force=True)
    assert set(removed.untagged) == {"base:1", "me/base:latest"} and removed.images == (image.id,)


def test_what_a_container_is_made_of_stays(layout: Layout, worker: Helper, store_path: Path) -> None:
    image = add_image(layout, "base:1", "one")
    box = _create(layout, "box")
    with pytest.raises(Conflict, match="containers are made of it: box"):
        remove_image(layout, worker, "base:1", force=False)
    removed = remove_image(layout, worker, "base:1", force=True)
    assert removed.untagged == ("base:1",) and removed.images == () and removed.layers == ()
    collect(layout, worker, containers=False, unused_images=True)
    assert f"layers/{image.layers[0]}" in things(store_path)
    remove_container(layout, worker, box, durable=True)
    remove_container(layout, worker, box, durable=True)
    assert list_containers(layout) == [] and os.listdir(store_path / "names") == []
    gone = collect(layout, worker, containers=False, unused_images=False)
    assert gone.images == (image.id,) and (gone.layers, gone.blobs) == (1, 2) and gone.size > 0
    assert things(store_path) == set()


def test_a_running_container_is_not_removed(layout: Layout, worker: Helper) -> None:
    add_image(layout, "base:1", "one")
    box = _create(layout, "box")
    held = hold_container(layout, box)
    with pytest.raises(Conflict, match="is running"):
        remove_container(layout, worker, box, durable=True)
    assert collect(layout, worker, containers=True, unused_images=True).containers == ()
    os.close(held)
    assert collect(layout, worker, containers=True, unused_images=False).containers == (box.id,)
    assert [image.layers for image in list_images(layout)] != []


def test_collecting_keeps_what_is_named_and_takes_the_rest(layout: Layout, worker: Helper, store_path: Path) -> None:
    old, new = add_image(layout, "base:1", "old"), add_image(layout, "base:1", "new")
    with Staging(layout) as staging:
        add_layer(staging, "nobody needs this")
    before = things(store_path)
    gone = collect(layout, worker, containers=True, unused_images=False)
    assert gone.images == (old.id,) and (gone.layers, gone.blobs) == (2, 2)
    assert len(before - things(store_path)) == 5  # two layers, two documents, one record
    assert find_image(layout, "base:1").id == new.id
    assert collect(layout, worker, containers=True, unused_images=False).size == 0
    assert collect(layout, worker, containers=True, unused_images=True).images == (new.id,)
    assert things(store_path) == set() and not (store_path / "refs/docker.io").exists()


def test_what_the_living_pinned_stays_and_what_the_dead_left_goes(
    layout: Layout, worker: Helper, store_path: Path
) -> None:
    with Staging(layout) as staging:
        name = add_layer(staging, "not yet in an image")
        assert collect(layout, worker, containers=True, unused_images=True).layers == 0
        assert things(store_path) == {f"layers/{name}"}
        assert os.path.isdir(staging.path)
    dead = store_path / "staging/dead"
    (dead / "1/tree/deep").mkdir(parents=True)
    (dead / "1/tree/deep/file").write_text("x")
    (dead / "1/tree/deep").chmod(0)
    (dead / "pins").write_text(f"layers/{name}\n")
    gone = collect(layout, worker, containers=True, unused_images=True)
    assert (gone.layers, gone.left_over) == (1, 1)
    assert things(store_path) == set() and os.listdir(store_path / "staging") == []


def test_a_name_without_its_container_is_dropped(layout: Layout, worker: Helper, store_path: Path) -> None:
    add_image(layout, "base:1", "one")
    (store_path / "names/box").write_text("0" * 64 + "\n")
    with pytest.raises(NotFound):
        find_container(layout, "box")
    collect(layout, worker, containers=False, unused_images=False)
    assert _create(layout, "box").name == "box"


def test_a_container_without_its_name_is_a_left_over(layout: Layout, worker: Helper, store_path: Path) -> None:
    add_image(layout, "base:1", "one")
    box, held, other = (_create(layout, name) for name in ("box", "held", "other"))
    for name in ("box", "held"):  # as a removal that was killed behind its first step
        (store_path / "names" / name).unlink()
    lock = hold_container(layout, held)
    try:
        collect(layout, worker, containers=False, unused_images=False)
        assert {container.id for container in list_containers(layout)} == {held.id, other.id} != {box.id}
    finally:
        os.close(lock)
