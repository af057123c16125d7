"""Writing the note that `again` finds a build by: what it looked at, if that can be looked at again.

No note is written for a build with sources from elsewhere (the web, repositories, named contexts), links that were
followed, base images named by id or digest, or files that changed so shortly before that another change could leave
them looking the same. Such a build is found step by step.
"""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from lamina.build.again import look, note_thing
from lamina.build.digests import is_settled
from lamina.errors import InvalidInput
from lamina.oci.reference import parse_reference
from lamina.store.files import ensure_directory
from lamina.store.images import find_image
from lamina.store.record import encode_record
from lamina.store.references import read_reference, reference_thing

if TYPE_CHECKING:
    from lamina.build.again import Asked
    from lamina.build.bases import InLayout
    from lamina.build.progress import Progress
    from lamina.store.images import ImageRecord
    from lamina.store.staging import Staging


class Seen:
    """What the stages of a build look at. Its methods may be called by several threads."""

    def __init__(self) -> None:
        self.began = time.time_ns()
        self._lock = threading.Lock()
        self._names: set[str] = set()
        self._tops: set[str] = set()
        self._plain = True
        self._steps: set[str] = set()

    def files(self, looked_at: Iterable[str], tops: Iterable[str]) -> None:
        """Note files of the context, "/" being its root; of `tops`, which a COPY names, links are followed."""
        with self._lock:
            self._names.update(name.lstrip("/") for name in looked_at)
            self._tops.update(name.lstrip("/") for name in tops)

    def step(self, key: str) -> None:
        """Note a step, whose key the store knows by the end of the build."""
        with self._lock:
            self._steps.add(key)

    def elsewhere(self) -> None:
        """Note that something came from where it cannot be looked at again."""
        self._plain = False

    def fields(self, root: str) -> list[tuple[str, Iterable[str]]] | None:
        """Return these as fields of a note; None where they could be something else already."""
        if not self._plain or any(map(os.path.islink, self._ways(root))):
            return None
        looks = []
        try:
            for name in sorted(self._names | self._tops):
                status = os.lstat(f"{root}/{name}")
                if not is_settled(status, self.began) or (stat.S_ISLNK(status.st_mode) and name in self._tops):
                    return None
                looks.append(f"{look(status)} {name}")
        except OSError:
            return None
        return [("look", looks), ("step", sorted(self._steps))]

    def _ways(self, root: str) -> set[str]:
        """Return the directories on the way to what a COPY names."""
        ways: set[str] = set()
        for top in self._tops:
            parts = top.split("/")
            ways.update("/".join((root, *parts[:end])) for end in range(1, len(parts)))
        return ways


def remember(
    staging: Staging,
    asked: Asked,
    seen: Seen,
    image: ImageRecord,
    *,
    tags: Iterable[str],
    bases: Mapping[tuple[str | InLayout, str], ImageRecord],
    progress: Progress,
) -> None:
    """Write the note of a build that made `image` from `bases`, by name and platform."""
    names = _names(staging, image, tags, bases)
    looks = seen.fields(asked.context)
    if names is None or looks is None:
        return
    events = [
        f"{'cached' if step.repeatable else 'done'}\t{step.place}\t{step.places}\t{step.stage}\t{step.title}"
        for step in sorted(progress.ended)
    ]
    ensure_directory(staging.layout.path("build", "whole"))
    fields = [("image", image.manifest), ("name", names), ("note", progress.notes), ("event", events), *looks]
    staging.publish_file(note_thing(asked), encode_record(fields), sync=False)


def _names(
    staging: Staging,
    image: ImageRecord,
    tags: Iterable[str],
    bases: Mapping[tuple[str | InLayout, str], ImageRecord],
) -> list[str] | None:
    """Return the references that a build read and made as "THING DIGEST"; None where one means another by now."""
    layout = staging.layout
    wanted = [(tag, image.manifest) for tag in tags]
    for (name, _), base in bases.items():
        if not isinstance(name, str):
            return None
        wanted.append((name, base.manifest))
    found = []
    for name, manifest in wanted:
        try:
            reference = parse_reference(name).tagged()
            digest = None if reference.digest else read_reference(layout, reference)
            if digest is None or find_image(layout, name).manifest != manifest:
                return None
        except InvalidInput:
            return None
        found.append(f"{reference_thing(reference)} {digest}")
    return found
