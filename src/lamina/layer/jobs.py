"""The jobs on layers, to be carried out where the right ids are (`ids.worker`).

Parameters and results are what JSON can carry, with paths and names as `str` (surrogateescape), and `Fd`: a descriptor
that stays the caller's. Everything is given by name. `staging` is a directory for one new layer, which is made if it is
not there: the job writes `tree`, `framing` and perhaps `owners` into it, all of it on disk when the job returns, and
none of it when the job raises. `below` are the trees of the layers below, base first, and `owners_below` those owners
tables that exist, each lying beside its tree. `space` is the xattr space of the marks (`overlay.format.TRUSTED` or
`USER`). With `single_id` all files have one owner, and the table of owners keeps the others.
"""

from __future__ import annotations

import os

from lamina.ids.worker import Fd

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lamina.events import OnEvent


def apply_layer(
    *,
    stream: Fd,
    staging: str,
    below: list[str],
    owners_below: list[str],
    space: str,
    single_id: bool,
    expected_diff_id: str,
    on_event: OnEvent,
    length: int | None = None,
    max_size: int | None = None,
    sync: bool = True,
) -> dict[str, object]:
    """Make a layer of the tar archive that `stream` gives, compressed or not, in its next `length` bytes or all.

    An archive of more than `max_size` bytes, uncompressed, is refused (InvalidInput); without, what is a bomb. Without
    `sync` it is the caller's to bring the layer to disk.

    Returns `diff_id` and `size` of the uncompressed archive, the bytes of `content` in it, its number of `entries`, its
    `compression`, and whether it is `complete`: the tree took nothing from the layers below. InvalidInput where
    `expected_diff_id` is given ("" is not) and is another.
    """
    from lamina.layer.unpack import Below, unpack

    return unpack(
        stream,
        staging,
        Below(below, owners_below),
        space=space,
        single_id=single_id,
        length=length,
        max_size=max_size,
        expected=expected_diff_id,
        sync=sync,
        on_event=on_event,
    )


def capture_layer(
    *,
    uppers: list[list[str]],
    below: list[str],
    owners_below: list[str],
    ignore: list[str],
    staging: str,
    space: str,
    single_id: bool,
    give: bool = False,
    on_event: OnEvent,
) -> dict[str, object]:
    """Make a layer of what `uppers` change of the layers below; they stay as they are.

    Each of `uppers` is a prefix ("" for the root) and the directory that lies there. `ignore` are paths of mount
    targets: one that is empty and was not below is left out, and so is a directory that was only copied up to hold it.
    With `give` their files become the layer's, and nothing is synced: nobody may write to the uppers any more. Returns
    the same as `apply_layer`.
    """
    from lamina.layer.capture import capture
    from lamina.layer.unpack import Below

    return capture(
        _uppers(uppers),
        Below(below, owners_below),
        staging,
        ignore=_paths(ignore),
        space=space,
        single_id=single_id,
        give=give,
        on_event=on_event,
    )


def apply_directory(*, source: str, staging: str, space: str, single_id: bool, on_event: OnEvent) -> dict[str, object]:
    """Make a base layer of the plain directory `source`: one file system only, without sockets.

    Returns the same as `apply_layer`.
    """
    from lamina.layer.capture import capture_directory

    return capture_directory(source, staging, space=space, single_id=single_id, on_event=on_event)


def assemble_layer(*, layer: str, out: Fd) -> dict[str, object]:
    """Write the exact tar of the layer in the directory `layer` to `out`; return its `diff_id` and `size`.

    The caller checks the diff id before it uses what was written.
    """
    from lamina.layer.assemble import assemble

    diff_id, size = assemble(layer, out)
    return {"diff_id": diff_id, "size": size}


def compress_layer(*, layer: str, out: Fd, compression: str) -> dict[str, object]:
    """Write the tar of the layer in the directory `layer`, compressed, to `out`.

    Returns its `diff_id`, which the caller checks, and `digest` and `size` of what was written.
    """
    from lamina.layer.assemble import compress

    diff_id, digest, size = compress(layer, out, compression)
    return {"diff_id": diff_id, "digest": digest, "size": size}


def is_later(*, layer: str, latest: int) -> bool:
    """Tell whether something in the layer in the directory `layer` has a time after `latest`, in nanoseconds."""
    from lamina.layer import retime

    return retime.is_later(layer, latest)


def retime_layer(*, layer: str, latest: int, out: Fd) -> None:
    """Write the tar of the layer in the directory `layer` to `out`, with no time in it after `latest`."""
    from lamina.layer import retime

    retime.write_retimed(layer, latest, out)


def compare_layers(*, first: str, second: str) -> list[list[str]]:
    """Return each name that differs between two layers, given by their directories or "", followed by what does."""
    from lamina.layer.compare import compare

    return [[os.fsdecode(name), *aspects] for name, aspects in compare(first, second)]


def flatten_layers(*, trees: list[str], owners: list[str], out: Fd, single_id: bool) -> None:
    """Write what the layers `trees`, base first, show together to `out` as one tar; `owners` are their tables."""
    from lamina.layer.flatten import flatten

    flatten(trees, owners, out, single_id=single_id)


def list_changes(*, uppers: list[list[str]], below: list[str], ignore: list[str]) -> list[list[str]]:
    """Return [kind, path] for each change as `docker diff` shows them: A, C or D, sorted by path."""
    from lamina.layer.changes import changed_paths

    return [[kind, os.fsdecode(path)] for kind, path in changed_paths(_uppers(uppers), below, _paths(ignore))]


def summarize(*, tree: str, below: list[str]) -> dict[str, int]:
    """Return how many names the layer `tree` has `added`, `changed` and `hidden`, its `bytes` and `entries`."""
    from lamina.layer.changes import summary

    return summary(tree, below)


def disk_usage(*, path: str) -> dict[str, int]:
    """Return the `bytes` that the tree at `path` takes on disk, hard links once, and its number of `entries`."""
    from lamina.layer import usage

    size, entries = usage.disk_usage(path)
    return {"bytes": size, "entries": entries}


def remove_tree(*, path: str) -> None:
    """Remove `path` and all below it, whatever its modes and depth; its absence is accepted.

    EBUSY where something is mounted in it: nothing of that is touched.
    """
    from lamina.layer import remove

    remove.remove_tree(path)


def remove_trees(*, paths: list[str]) -> None:
    """Remove each of `paths` as `remove_tree` does; what one raises keeps the others from nothing."""
    failure: OSError | None = None
    for path in paths:
        try:
            remove_tree(path=path)
        except OSError as error:
            failure = failure or error
    if failure is not None:
        raise failure


def _uppers(uppers: list[list[str]]) -> list[tuple[bytes, str]]:
    return [(os.fsencode(prefix).strip(b"/"), directory) for prefix, directory in uppers]


def _paths(names: list[str]) -> frozenset[bytes]:
    return frozenset(os.fsencode(name).strip(b"/") for name in names)
