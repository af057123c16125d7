"""References, images and containers of a store: finding, naming, showing."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from lamina.errors import Conflict, InvalidInput, NotFound, StoreError
from lamina.oci.config import Settings
from lamina.oci.reference import parse_name, parse_reference
from lamina.store.containers import (
    ContainerRecord,
    ContainerState,
    add_ignored,
    create_container,
    find_container,
    hold_container,
    ignored_paths,
    list_containers,
    read_state,
    status_of,
    uppers_of,
    write_state,
    write_uppers,
)
from lamina.store.images import find_image, list_images, read_image
from lamina.store.layout import Layout
from lamina.store.names import check_container_name, make_up_name
from lamina.store.publish import documents_of, tag_image, untag_image
from lamina.store.references import list_references, read_reference
from lamina.store.staging import Staging
from tests.helpers.stores import add_image, open_store

SETTINGS = Settings(
    env=("A=b c", "B=\n\\"),
    cmd=("sh", "-c", "x"),
    entrypoint=("/init",),
    user="1:2",
    working_dir="/w",
    volumes=("/v",),
    stop_signal="SIGQUIT",
)


def _create(layout: Layout, name: str = "", image: str = "base:1") -> ContainerRecord:
    with Staging(layout) as staging, layout.publishing():
        return create_container(
            staging,
            find_image(layout, image),
            image_name=image,
            name=name,
            command=["sh", "-c", "a b"],
            labels={"k": "v"},
            created=5,
            durable=True,
        )


def test_an_image_is_found_by_each_of_its_names(store_path: Path) -> None:
    layout = open_store(store_path)
    image = add_image(layout, "base:1", "one", "two", settings=SETTINGS)
    for text in ("base:1", "docker.io/library/base:1", image.id, image.id[7:], image.id[7:9], f"base@{image.manifest}"):
        found = find_image(layout, text)
        assert (found.id, found.env, found.cmd, found.entrypoint) == (
            image.id,
            list(SETTINGS.env),
            ["sh", "-c", "x"],
            ["/init"],
        )
        assert (found.user, found.workdir, found.volumes, found.stop_signal) == ("1:2", "/w", ["/v"], "SIGQUIT")
    assert [Path(tree, "file").read_text() for tree in image.trees(layout)] == ["one", "two"]
    manifest, config = documents_of(layout, image.manifest, image.layers)
    assert config.settings == SETTINGS and len(manifest.layers) == 2


@pytest.mark.parametrize(
    "text", ["base", "base:2", "other/base:1", "0123456789", "f" * 64, "sha256:00", f"base@sha256:{'0' * 64}"]
)
def test_an_image_that_is_not_there(store_path: Path, text: str) -> None:
    layout = open_store(store_path)
    add_image(layout, "base:1", "one")
    with pytest.raises(NotFound, match="no image of this name"):
        find_image(layout, text)


def test_what_can_be_no_name_of_an_image_says_why(store_path: Path) -> None:
    layout = open_store(store_path)
    for text in ("", "Base", "a b", "../x", "base:", "x/../y"):
        with pytest.raises(InvalidInput, match="cannot use the name"):
            find_image(layout, text)


def test_an_ambiguous_id_is_refused(store_path: Path) -> None:
    layout = open_store(store_path)
    ids = [add_image(layout, None, f"content {n}").id[7:] for n in range(40)]
    twice = next(start for start in (i[:1] for i in ids) if sum(i.startswith(start) for i in ids) > 1)
    prefix = next((i[:2] for i in ids if sum(j.startswith(i[:2]) for j in ids) > 1), None)
    with pytest.raises(NotFound):
        find_image(layout, twice)  # one digit is not enough to be an id
    if prefix is not None:  # 40 of 256: nearly always
        with pytest.raises(InvalidInput, match="begin so"):
            find_image(layout, prefix)


def test_tags_move_and_go(store_path: Path) -> None:
    layout = open_store(store_path)
    first, second = add_image(layout, "base:1", "one"), add_image(layout, "base:1", "two")
    assert find_image(layout, "base:1").id == second.id
    assert {image.id for image in list_images(layout)} == {first.id, second.id}
    with Staging(layout) as staging:
        tag_image(staging, first, parse_name("host.example:5000/a/b"))
        assert read_reference(layout, parse_reference("host.example:5000/a/b:latest")) == first.manifest
        untag_image(staging, parse_name("host.example:5000/a/b"))
        untag_image(staging, parse_name("host.example:5000/a/b"))
    assert os.listdir(store_path / "refs") == ["docker.io"]
    assert [str(reference) for reference, _ in list_references(layout)] == ["docker.io/library/base:1"]


def test_the_word_host_is_no_name_for_an_image(store_path: Path) -> None:
    layout = open_store(store_path)
    image = add_image(layout, "base:1", "one")
    with Staging(layout) as staging, pytest.raises(InvalidInput, match="own root"):
        tag_image(staging, image, parse_name("host:1"))


def test_index_json_shows_the_references(store_path: Path) -> None:
    layout = open_store(store_path)
    image = add_image(layout, "base:1", "one")
    with Staging(layout) as staging:
        tag_image(staging, image, parse_name("me/app:2"))
    index = json.loads((store_path / "index.json").read_text())
    shown = {entry["annotations"]["io.containerd.image.name"]: entry["digest"] for entry in index["manifests"]}
    assert shown == dict.fromkeys(("docker.io/library/base:1", "docker.io/me/app:2"), image.manifest)
    for entry in index["manifests"]:
        assert (store_path / "blobs/sha256" / entry["digest"][7:]).stat().st_size == entry["size"]


def test_publishing_twice_is_the_same(store_path: Path) -> None:
    layout = open_store(store_path)
    first = add_image(layout, "base:1", "one")
    files = {path: path.stat().st_ino for path in store_path.glob("layers/*/layer")}
    assert add_image(layout, "base:1", "one").manifest == first.manifest
    assert files == {path: path.stat().st_ino for path in store_path.glob("layers/*/layer")}
    assert os.listdir(store_path / "staging") == []


def test_damage_is_named(store_path: Path) -> None:
    layout = open_store(store_path)
    image = add_image(layout, "base:1", "one")
    blob = store_path / "blobs/sha256" / image.id[7:]
    blob.write_bytes(blob.read_bytes() + b" ")
    with pytest.raises(InvalidInput, match="its digest is"):
        documents_of(layout, image.manifest, image.layers)
    blob.unlink()
    with pytest.raises(StoreError, match="is missing from"):
        documents_of(layout, image.manifest, image.layers)
    (store_path / "refs/docker.io/library/base/:1").write_text("nonsense")
    with pytest.raises(StoreError, match="read the reference"):
        find_image(layout, "base:1")
    (store_path / "images" / image.manifest[7:]).write_text("nonsense\n")
    with pytest.raises(StoreError, match="cannot read"):
        read_image(layout, image.manifest)


def test_a_container_is_found_by_name_and_id(store_path: Path) -> None:
    layout = open_store(store_path)
    image = add_image(layout, "base:1", "one")
    box = _create(layout, "box")
    for text in ("box", box.id, box.id[:12], box.id[:2]):
        found = find_container(layout, text)
        assert (found.id, found.name, found.image, found.image_name) == (box.id, "box", image.manifest, "base:1")
        assert (found.command, found.labels, found.layers, found.host) == (
            ["sh", "-c", "a b"],
            ["k=v"],
            image.layers,
            False,
        )
    assert sorted(os.listdir(box.directory(layout))) == ["lock", "merged", "record", "upper", "work"]
    for text in ("", "..", "nobody", "../names/box", box.id[:1], "a\0b", "f" * 65):
        with pytest.raises(NotFound):
            find_container(layout, text)
    assert [record.id for record in list_containers(layout)] == [box.id]


def test_a_taken_name_is_refused_and_leaves_nothing(store_path: Path) -> None:
    layout = open_store(store_path)
    add_image(layout, "base:1", "one")
    box = _create(layout, "box")
    with pytest.raises(Conflict, match=f"taken by {box.id[:12]}"):
        _create(layout, "box")
    assert os.listdir(store_path / "containers") == [box.id] and os.listdir(store_path / "staging") == []


def test_made_up_names_are_names_and_differ(store_path: Path) -> None:
    layout = open_store(store_path)
    add_image(layout, "base:1", "one")
    names = [_create(layout).name for _ in range(20)]
    assert len(set(names)) == 20
    for name in names:
        check_container_name(name)
    assert re.fullmatch(r"[a-z]+_[a-z]+\d+", make_up_name(attempt=10))


@pytest.mark.parametrize("name", ["a", "", "-ab", ".ab", "a b", "a/b", "ä1", "a" * 129, "ab\n"])
def test_what_can_be_no_name_of_a_container(name: str) -> None:
    with pytest.raises(InvalidInput, match="name a container"):
        check_container_name(name)


def test_status_follows_lock_and_state(store_path: Path) -> None:
    layout = open_store(store_path)
    add_image(layout, "base:1", "one")
    box = _create(layout, "box")
    assert status_of(layout, box.id) == "created" and read_state(layout, box.id).exit_code is None
    held = hold_container(layout, box)
    write_state(layout, box.id, ContainerState(started=1), durable=True)
    assert status_of(layout, box.id) == "running"
    with pytest.raises(Conflict, match="is running"):
        hold_container(layout, box)
    os.close(held)
    assert status_of(layout, box.id) == "exited" and read_state(layout, box.id).exit_code is None
    write_state(layout, box.id, ContainerState(started=1, finished=2, exit_code=0), durable=False)
    assert read_state(layout, box.id).exit_code == 0 and status_of(layout, box.id) == "exited"


def test_a_lock_is_held_as_long_as_a_child_holds_it(store_path: Path) -> None:
    layout = open_store(store_path)
    add_image(layout, "base:1", "one")
    box = _create(layout, "box")
    held = hold_container(layout, box)
    wait, go = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(go)
        os.read(wait, 1)
        os._exit(0)
    os.close(wait)
    os.close(held)
    assert status_of(layout, box.id) == "running"
    os.close(go)
    os.waitpid(child, 0)
    assert status_of(layout, box.id) == "created"


def test_ignored_paths_and_uppers_are_kept(store_path: Path) -> None:
    layout = open_store(store_path)
    add_image(layout, "base:1", "one")
    box = _create(layout, "box")
    assert ignored_paths(layout, box.id) == []
    add_ignored(layout, box.id, ["/proc", "/etc/hosts"])
    add_ignored(layout, box.id, ["/etc/hosts", "/mnt", "/mnt"])
    assert ignored_paths(layout, box.id) == ["/proc", "/etc/hosts", "/mnt"]
    assert uppers_of(layout, box.id) == [("", f"{box.directory(layout)}/upper")]
    write_uppers(layout, box.id, [("", "uppers/0"), ("var/my lib", "uppers/1")])
    directory = box.directory(layout)
    assert uppers_of(layout, box.id) == [("", f"{directory}/uppers/0"), ("var/my lib", f"{directory}/uppers/1")]
