"""Making layers: a worker carries out the job in a staging directory, and the result is published.

What a job failed to finish, and what another process published first, is removed before the call returns.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lamina.errors import InvalidInput, StoreError
from lamina.events import OnEvent
from lamina.ids.worker import Fd
from lamina.layer import jobs
from lamina.linux.namespaces import in_first_user_namespace
from lamina.oci.digest import BlobDigest, hex_of, next_chain_id, parse_diff_id, parse_digest
from lamina.overlay.format import TRUSTED, USER
from lamina.store.files import rename_directory, sync_directory, write_new
from lamina.store.layers import (
    LayerRecord,
    boot_id,
    chain_of,
    encode_layer,
    owners_path,
    read_layer,
    settle_layers,
    tree_path,
)
from lamina.store.layout import Layout
from lamina.store.staging import Staging

if TYPE_CHECKING:
    from lamina.ids.worker import Worker


def apply(
    staging: Staging,
    worker: Worker,
    stream: Fd,
    below: Sequence[str],
    *,
    length: int | None = None,
    max_size: int | None = None,
    expected: str = "",
    sync: bool = True,
    on_event: OnEvent,
) -> LayerRecord:
    """Publish the layer whose tar comes from `stream`, compressed or not, over the layers `below`, base first.

    With `length`, only so many bytes of `stream` are read; with `max_size`, more uncompressed ones are refused. With
    `expected`, a diff id, anything else is refused (InvalidInput) and nothing is published. Without `sync` the layer is
    lost if the machine stops before `settle_layers`.
    """
    make = _apply_job(
        staging.layout,
        worker,
        stream,
        below,
        length=length,
        max_size=max_size,
        expected=expected,
        sync=sync,
        on_event=on_event,
    )
    return _make(staging, worker, below, make, sync=sync)


def apply_anywhere(
    staging: Staging,
    worker: Worker,
    stream: Fd,
    *,
    length: int | None = None,
    max_size: int | None = None,
    expected: str,
    sync: bool = True,
    on_event: OnEvent,
) -> LayerRecord | None:
    """Publish the layer as `apply` does if it is the same over whatever lies below.

    None, with nothing published, where it is not, or cannot be made without the layers below: then `apply` tells.
    """
    make = _apply_job(
        staging.layout,
        worker,
        stream,
        (),
        length=length,
        max_size=max_size,
        expected=expected,
        sync=sync,
        on_event=on_event,
    )
    try:
        with _made(staging, worker, make) as (directory, made):
            return _publish(staging, directory, (), made, sync=sync) if made["complete"] else None
    except InvalidInput:  # a hard link into a layer below looks like one to nothing; with that layer, all is clear
        return None


def _apply_job(
    layout: Layout,
    worker: Worker,
    stream: Fd,
    below: Sequence[str],
    *,
    length: int | None,
    max_size: int | None,
    expected: str,
    sync: bool,
    on_event: OnEvent,
) -> Callable[[str], Mapping[str, object]]:
    def make(directory: str) -> Mapping[str, object]:
        return worker.call(
            jobs.apply_layer,
            stream=stream,
            staging=directory,
            below=[tree_path(layout, name) for name in below],
            owners_below=_owners(layout, below),
            space=space_of(layout),
            single_id=layout.single_id,
            expected_diff_id=expected,
            length=length,
            max_size=max_size,
            sync=sync,
            on_event=on_event,
        )

    return make


def apply_directory(staging: Staging, worker: Worker, source: str, *, on_event: OnEvent) -> LayerRecord:
    """Publish what is in the directory `source` of the host as a base layer."""
    layout = staging.layout

    def make(directory: str) -> Mapping[str, object]:
        return worker.call(
            jobs.apply_directory,
            source=source,
            staging=directory,
            space=space_of(layout),
            single_id=layout.single_id,
            on_event=on_event,
        )

    return _make(staging, worker, (), make)


def capture(
    staging: Staging,
    worker: Worker,
    uppers: Sequence[tuple[str, str]],
    below: Sequence[str],
    *,
    over_host: bool,
    ignore: Sequence[str],
    give: bool = False,
    on_event: OnEvent,
) -> LayerRecord:
    """Publish what the directories `uppers`, (place in the tree, directory), change over `below` as a layer.

    With `over_host` the host's own root lies below everything. `ignore` are names made for mounts, not by anybody. With
    `give` the layer takes the files of `uppers`, and is lost if the machine stops before `settle_layers`.
    """
    layout = staging.layout

    def make(directory: str) -> Mapping[str, object]:
        return worker.call(
            jobs.capture_layer,
            uppers=[list(upper) for upper in uppers],
            below=[*(["/"] if over_host else []), *(tree_path(layout, name) for name in below)],
            owners_below=_owners(layout, below),
            ignore=list(ignore),
            staging=directory,
            space=space_of(layout),
            single_id=layout.single_id,
            give=give,
            on_event=on_event,
        )

    return _make(staging, worker, below, make, sync=not give)


def write_tar(layout: Layout, worker: Worker, name: str, out: Fd) -> None:
    """Write the layer's tar as it was taken in; StoreError where tree and framing no longer make the same."""
    _check_made(layout, name, worker.call(jobs.assemble_layer, layer=layout.path("layers", name), out=out))


def write_compressed(layout: Layout, worker: Worker, name: str, out: Fd, compression: str) -> tuple[BlobDigest, int]:
    """Write the layer's tar compressed and return digest and size of that; StoreError as in `write_tar`."""
    directory = layout.path("layers", name)
    made = worker.call(jobs.compress_layer, layer=directory, out=out, compression=compression)
    _check_made(layout, name, made)
    return parse_digest(str(made["digest"])), int(str(made["size"]))


def write_flat(layout: Layout, worker: Worker, names: Sequence[str], upper: str, out: Fd) -> None:
    """Write what the layers `names`, base first, and `upper`, a container's changes, show together, as one tar."""
    worker.call(
        jobs.flatten_layers,
        trees=[*(tree_path(layout, name) for name in names), upper],
        owners=_owners(layout, names),
        out=out,
        single_id=layout.single_id,
    )


def _check_made(layout: Layout, name: str, made: Mapping[str, object]) -> None:
    if made["diff_id"] != read_layer(layout, name).diff_id:
        raise StoreError("write the layer", name, f"its files have changed: they make {made['diff_id']}")


def _make(
    staging: Staging,
    worker: Worker,
    below: Sequence[str],
    make: Callable[[str], Mapping[str, object]],
    *,
    sync: bool = True,
) -> LayerRecord:
    with _made(staging, worker, make) as (directory, made):
        return _publish(staging, directory, below, made, sync=sync)


@contextmanager
def _made(
    staging: Staging, worker: Worker, make: Callable[[str], Mapping[str, object]]
) -> Iterator[tuple[str, Mapping[str, object]]]:
    """Carry out a job in a new directory; yield both, and remove what is not published by the end of the block."""
    directory = staging.new_path()
    os.mkdir(directory, 0o755)
    try:
        yield directory, make(directory)
    finally:
        # Nothing is there once it is published; what failed, or what another process published first, goes now.
        if os.path.lexists(directory):
            worker.call(jobs.remove_tree, path=directory)


def _publish(
    staging: Staging, directory: str, below: Sequence[str], made: Mapping[str, object], *, sync: bool = True
) -> LayerRecord:
    """Rename a layer that was made into its place; one that is not synced has a record for this boot only."""
    layout = staging.layout
    diff_id = parse_diff_id(str(made["diff_id"]))
    complete = bool(made["complete"])
    name = f"diff-{hex_of(diff_id)}" if complete else f"chain-{hex_of(next_chain_id(chain_of(layout, below), diff_id))}"
    size, content, entries = (int(str(made[key])) for key in ("size", "content", "entries"))
    layer = LayerRecord(name, diff_id, size=size, content=content, entries=entries, complete=complete)
    write_new(f"{directory}/layer" if sync else f"{directory}/layer-{boot_id()}", encode_layer(layer), sync=sync)
    if sync:
        sync_directory(directory)  # the job has synced what it made
    with layout.publishing():
        staging.pin(f"layers/{name}")
        if not staging.publish_directory(directory, f"layers/{name}", sync=sync):
            _replace_lost(staging, directory, name, sync=sync)
        found = read_layer(layout, name)
    if sync:
        settle_layers(layout, [name])  # another process may have made it, and not synced it yet
    return found


def _replace_lost(staging: Staging, directory: str, name: str, *, sync: bool) -> None:
    """Take the place of a layer that the machine's stop has cut short; any other is as good as ours."""
    try:
        read_layer(staging.layout, name)
    except StoreError:
        if rename_directory(staging.layout.path("layers", name), staging.new_path()):
            staging.publish_directory(directory, f"layers/{name}", sync=sync)


def _owners(layout: Layout, below: Sequence[str]) -> list[str]:
    tables = [owners_path(layout, name) for name in below]
    return [table for table in tables if os.path.exists(table)]


def space_of(layout: Layout) -> str:
    # Root of a user namespace has root's own map, and yet may not set trusted.* attributes (user_namespaces(7)).
    return TRUSTED if layout.ids.kind == "host" and in_first_user_namespace() else USER
