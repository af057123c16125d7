"""The tools as jobs for the process that has the right ids (`ids.worker`): plain arguments, plain results.

`overlay` are the fields of an `Overlay` (`Overlay.plain`). Paths in results are text with surrogateescape.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from lamina.overlay.stack import Overlay
from lamina.overlay.upper.stopped import Stopped

if TYPE_CHECKING:
    from lamina.overlay.upper.leftovers import Finding


def check_upper(*, overlay: dict[str, object], repair: bool) -> list[dict[str, object]]:
    """Look an upper over, and with `repair` mend what can be mended.

    Returns for each thing that is wrong its `path`, whether it is in the work directory (`work`), its `kind`, the
    `text` for people, the steps of its `repair`, none where there is none, and whether it was `mended`.
    """
    from lamina.overlay.upper import check

    with Stopped(_overlay(overlay)) as room:
        if not repair:
            return [_plain(finding, mended=False) for finding in check.check(room)]
        mended, left = check.repair(room)
        return [_plain(finding, mended=finding not in left) for finding in dict.fromkeys([*mended, *left])]


def vacuum_upper(*, overlay: dict[str, object], dry_run: bool) -> list[str]:
    """Drop from an upper what equals the layers below; return the steps for people, which `dry_run` only plans."""
    from lamina.overlay.upper.steps import carry_out
    from lamina.overlay.upper.vacuum import plan_vacuum

    with Stopped(_overlay(overlay)) as room:
        plan = plan_vacuum(room)
        if not dry_run:
            carry_out(plan, room)
        return [step.describe() for step in plan]


def flatten_upper(*, overlay: dict[str, object], dry_run: bool) -> list[str]:
    """Make an upper independent of redirects and metacopies; returns the same as `vacuum_upper`."""
    from lamina.overlay.upper.flatten import plan_flatten
    from lamina.overlay.upper.steps import carry_out

    with Stopped(_overlay(overlay)) as room:
        plan = plan_flatten(room)
        if not dry_run:
            carry_out(plan, room)
        return [step.describe() for step in plan]


def merge_upper(*, overlay: dict[str, object], dry_run: bool) -> list[str]:
    """Fold an upper into the topmost layer; returns the same as `vacuum_upper`."""
    from lamina.overlay.upper.merge import merge, plan_merge

    with Stopped(_overlay(overlay), merging=True) as room:
        said = [step.describe() for step in plan_merge(room)]
        if not dry_run:
            merge(room)
        return said


def _overlay(plain: dict[str, object]) -> Overlay:
    return Overlay(**plain)  # type: ignore[arg-type]  # made by Overlay.plain


def _plain(finding: Finding, *, mended: bool) -> dict[str, object]:
    return {
        "path": os.fsdecode(finding.path),
        "work": finding.work,
        "kind": finding.kind,
        "text": finding.text,
        "repair": [step.describe() for step in finding.repair],
        "mended": mended,
    }
