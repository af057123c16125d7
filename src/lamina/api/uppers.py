"""Looking after the upper of a stopped mount: `check_upper`, `vacuum_upper`, `flatten_upper`, `merge_upper`.

Directories are named as for `mount`, layers base first. Files of an ordinary user's range of ids are reached by a
helper process. Conflict where the upper is in use, or where its merge was interrupted, which `merge_upper` finishes.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lamina.ids.map import choose
from lamina.ids.worker import Helper
from lamina.linux.namespaces import in_first_user_namespace
from lamina.overlay.stack import Overlay
from lamina.overlay.upper import jobs

_Path = str | os.PathLike[str]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong at `path` of the upper, or of its work directory (`work`).

    `kind` is one word (docs/reference/json.md lists them), `text` a line for people, `repair` the steps that mend it,
    none where it cannot be mended, `mended` whether that was done.
    """

    path: str
    work: bool
    kind: str
    text: str
    repair: tuple[str, ...]
    mended: bool


def check_upper(layers: Sequence[_Path], *, upper: _Path, work: _Path, repair: bool = False) -> list[Finding]:
    """Return what in the upper no driver would have left there; with `repair` mend what can be mended."""
    found = _call(jobs.check_upper, layers, upper, work, repair=repair)
    return [Finding(**{**fields, "repair": tuple(fields["repair"])}) for fields in found]


def vacuum_upper(layers: Sequence[_Path], *, upper: _Path, work: _Path, dry_run: bool = False) -> list[str]:
    """Drop what equals the layers below; return the steps, which `dry_run` only plans."""
    return list(_call(jobs.vacuum_upper, layers, upper, work, dry_run=dry_run))


def flatten_upper(layers: Sequence[_Path], *, upper: _Path, work: _Path, dry_run: bool = False) -> list[str]:
    """Make the upper independent of redirects and metacopies; return the steps, which `dry_run` only plans."""
    return list(_call(jobs.flatten_upper, layers, upper, work, dry_run=dry_run))


def merge_upper(layers: Sequence[_Path], *, upper: _Path, work: _Path, dry_run: bool = False) -> list[str]:
    """Fold the upper into the topmost layer and leave it empty; return the steps, which `dry_run` only plans.

    What interrupts a merge leaves an upper that nobody mounts until the next call has finished it.
    """
    return list(_call(jobs.merge_upper, layers, upper, work, dry_run=dry_run))


def _call(job: Any, layers: Sequence[_Path], upper: _Path, work: _Path, **options: bool) -> Any:
    ids = choose(os.geteuid(), os.getegid())
    overlay = Overlay(
        [os.path.abspath(layer) for layer in layers],
        upper=os.path.abspath(upper),
        work=os.path.abspath(work),
        userxattr=ids.kind != "host" or not in_first_user_namespace(),
    )
    helper = Helper(ids)
    try:
        return helper.call(job, overlay=overlay.plain(), **options)
    finally:
        helper.close()
