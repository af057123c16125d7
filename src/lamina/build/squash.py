"""Several layers become one: what they show together over the layers below, without what they hide of each other.

`merge_layers` is a job (`lamina.ids.worker`): it fills an upper through our own union, layer by layer, so that
whiteouts, opaque directories and changes of type mean what they mean in a mount.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lamina.build.files import Copier
from lamina.build.select import Selected
from lamina.events import ignore
from lamina.layer import jobs
from lamina.layer.lower import Lower
from lamina.layer.walk import Opaque, Visible, Walk, Whiteout
from lamina.overlay.format import USER
from lamina.overlay.union.union import Union
from lamina.runtime.plan import make_like
from lamina.store import making
from lamina.store.layers import tree_path

if TYPE_CHECKING:
    from lamina.ids.worker import Worker
    from lamina.store.staging import Staging


def squash_layers(staging: Staging, worker: Worker, base: Sequence[str], layers: Sequence[str]) -> tuple[str, ...]:
    """Return the one layer, pinned, that does over `base` what `layers` do; none where they do nothing."""
    if len(layers) < 2:
        return tuple(layers)
    layout = staging.layout
    directory = staging.new_path()
    os.mkdir(directory, 0o755)
    try:
        upper, empty = f"{directory}/upper", f"{directory}/empty"
        os.mkdir(upper, 0o755)
        os.mkdir(empty, 0o755)
        make_like(upper, tree_path(layout, layers[-1]))
        worker.call(
            merge_layers,
            below=[tree_path(layout, name) for name in base] or [empty],
            layers=[tree_path(layout, name) for name in layers],
            upper=upper,
            userxattr=making.space_of(layout) == USER,
            single_id=layout.single_id,
        )
        made = making.capture(staging, worker, [("", upper)], base, over_host=False, ignore=(), on_event=ignore)
    finally:
        worker.call(jobs.remove_tree, path=directory)
    return (made.name,) if made.entries else ()


def merge_layers(*, below: list[str], layers: list[str], upper: str, userxattr: bool, single_id: bool) -> None:
    """Do in the union of `below` and `upper` what each of `layers` does, base first."""
    with Union(below, upper=upper, userxattr=userxattr, sync=False) as target:
        for number, tree in enumerate(layers):
            with Union([tree]) as source, Lower([*below, *layers[:number]]) as lower:
                copier = Copier(source, target, owner=[], mode=None, created=0)
                copier.single_id = single_id
                _merge(Walk(tree, b"", lower, frozenset()), copier, target)


def _merge(walk: Walk, copier: Copier, target: Union) -> None:
    for change in walk.changes():
        match change:
            case Whiteout(path=path):
                _remove(target, _shown(path))
            case Opaque(hidden=hidden):
                for found in hidden:
                    _remove(target, _shown(found.path))
            case Visible(name=b"."):
                copier.copy_one(Selected("/", "", follow=False), "/")
            case Visible(path=path, st=status):
                shown = _shown(path)
                if target.lexists(shown) and not (
                    stat.S_ISDIR(status.st_mode) and stat.S_ISDIR(target.lstat(shown).st_mode)
                ):
                    _remove(target, shown)
                copier.copy_one(Selected(shown, "", follow=False), shown)
    copier.finish_times()


def _shown(path: bytes) -> str:
    return "/" + os.fsdecode(path)


def _remove(target: Union, path: str) -> None:
    if not target.lexists(path):
        return
    if target.is_dir(path) and not target.is_symlink(path):
        target.rmtree(path)
    else:
        target.unlink(path)
