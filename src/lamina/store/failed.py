"""What a failed step left: `build/failed/HEX`, HEX being the build's name, and `build/uppers/KEY`, for going on.

A name is a reference; its record names two images without a reference of their own, the state before the step and the
one after it. `KEY` is the step's cache key: the directory is its upper as the command left it. `prune` removes all.
"""

from __future__ import annotations

import os

from lamina.oci.reference import parse_name
from lamina.store.files import ensure_directory, read_if_present, rename_directory
from lamina.store.images import ImageRecord, read_image
from lamina.store.record import Record, encode_record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lamina.store.layout import Layout
    from lamina.store.staging import Staging

#: What is written behind the name of a build, with an @.
FAILED, BEFORE = "failed", "before-failed"


def find_failed(layout: Layout, name: str, which: str) -> ImageRecord | None:
    """Return the state `which` (FAILED or BEFORE) of the last failure of the build `name`; None if none is kept."""
    path = _path(layout, name)
    data = read_if_present(path)
    return None if data is None else read_image(layout, Record(data, path).text(which))


def write_failed(staging: Staging, name: str, *, before: ImageRecord, failed: ImageRecord) -> None:
    """Keep the two states of a failure under the name of the build, in place of any that it had."""
    ensure_directory(staging.layout.path("build", "failed"))
    data = encode_record([(BEFORE, before.manifest), (FAILED, failed.manifest)])
    thing = os.path.relpath(_path(staging.layout, name), staging.layout.root)
    staging.publish_file(thing, data)


def keep_upper(layout: Layout, key: str, upper: str) -> None:
    """Move the upper of a failed step to where `take_upper` finds it; one that is there already makes way."""
    ensure_directory(layout.path("build", "uppers"))
    kept = layout.path("build", "uppers", key)
    if os.path.lexists(kept):
        os.rename(kept, f"{os.path.dirname(upper)}/old-upper")  # removed with the step's directory
    rename_directory(upper, kept)


def has_upper(layout: Layout, key: str) -> bool:
    """Tell whether the upper of a failed step is kept."""
    return os.path.isdir(layout.path("build", "uppers", key))


def take_upper(layout: Layout, key: str, upper: str) -> bool:
    """Move the kept upper of a step to `upper`; False where there is none."""
    try:
        return rename_directory(layout.path("build", "uppers", key), upper)
    except FileNotFoundError:
        return False


def things_of_failures(layout: Layout) -> list[str]:
    """Return what failures left, below the store's root."""
    found = []
    for folder in ("failed", "uppers"):
        directory = layout.path("build", folder)
        if os.path.isdir(directory):
            found += [f"build/{folder}/{name}" for name in sorted(os.listdir(directory))]
    return found


def _path(layout: Layout, name: str) -> str:
    return layout.path("build", "failed", str(parse_name(name).tagged()).encode().hex())
