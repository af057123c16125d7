"""A build that was done already: known before its Dockerfile is parsed, by all that it would look at.

A build that ends leaves a note, `build/whole/HEX` of the store, HEX being a digest of what it was asked for, with the
bytes of its Dockerfile and .dockerignore. The note says what it looked at beside that: the names of its base images and
what they mean, the files of the context as lstat(2) shows them, the steps that the store knows. While all of that is
the same, so is the image, which has its names already. `remember` writes notes, and says which builds get none.

Where anything differs the build is carried out, each step with its key: a note decides nothing but "as it was".
This is on the way of each build, so it loads neither the language nor the engine.
"""

from __future__ import annotations

import os
from hashlib import sha256
from time import monotonic

from lamina.build.stepevent import StepEvent
from lamina.errors import StoreError
from lamina.store.blobs import has_blob
from lamina.store.files import read_if_present
from lamina.store.images import read_image
from lamina.store.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from lamina.build.stepevent import Status
    from lamina.events import OnEvent
    from lamina.store.images import ImageRecord
    from lamina.store.layout import Layout

_FORMAT = "1"  # a new number where the same words make another image


class Asked:
    """What a build of the directory `context` was asked for; `name` is that of its note."""

    __slots__ = ("context", "name")

    def __init__(self, context: str, name: str) -> None:
        self.context = context
        self.name = name


def asked_for(context: str, dockerfile: str | None, words: Iterable[object]) -> Asked | None:
    """Return what a build is asked for, or None where the context is no plain directory or has no Dockerfile.

    `words` are the options that count: whatever changes the image, the names that it gets, or what is said.
    """
    root = os.path.abspath(context)
    if not os.path.isdir(root) or "#" in context or os.path.exists(f"{root}/HEAD"):  # a repository, perhaps
        return None
    names = [dockerfile] if dockerfile else [f"{root}/Dockerfile", f"{root}/Containerfile"]
    path = next(filter(os.path.exists, names), "")
    ignoring = [f"{path}.dockerignore", f"{root}/.dockerignore"]
    if any(os.path.exists(name) and not os.path.isfile(name) for name in (path, *ignoring)):
        return None  # the build says what is wrong with it; and what a pipe gives is there once
    try:
        data = read_if_present(path) if path else None
        ignores = [*map(read_if_present, ignoring)]
    except OSError:
        return None
    if data is None:
        return None
    parts = (_FORMAT, root, os.path.basename(path), data, ignores, os.uname().machine, *words)
    return Asked(root, sha256(repr(parts).encode("utf-8", "surrogateescape")).hexdigest())


def note_thing(asked: Asked) -> str:
    """Return where the note of a build is below the store's root."""
    return f"build/whole/{asked.name}"


def find_again(layout: Layout, asked: Asked, on_event: OnEvent) -> ImageRecord | None:
    """Return the image that this build made before, if all is as it was; then its steps are told as cached."""
    began = monotonic()
    path = layout.path(note_thing(asked))
    data = read_if_present(path)
    if data is None:
        return None
    try:
        note = Record(data, path)
        if not looks_the_same(asked.context, note.texts("look")):
            return None
        with layout.publishing():
            image = _image_of(layout, note)
    except StoreError:  # damaged: as good as none
        return None
    if image is not None:
        _tell(note, began, on_event)
    return image


def _image_of(layout: Layout, note: Record) -> ImageRecord | None:
    """Return the image, if names mean what they meant, and all that it and its steps left is there."""
    for text in note.texts("name"):
        thing, _, digest = text.rpartition(" ")
        if os.fsdecode(read_if_present(layout.path(thing)) or b"").strip() != digest:
            return None
    if not all(os.path.exists(layout.path("build", "steps", key)) for key in note.texts("step")):
        return None
    image = read_image(layout, note.text("image"))
    return image if image is not None and _is_whole(layout, image) else None


def _is_whole(layout: Layout, image: ImageRecord) -> bool:
    documents = has_blob(layout, image.manifest) and has_blob(layout, image.id)
    return documents and all(os.path.exists(layout.path("layers", name, "layer")) for name in image.layers)


def look(status: os.stat_result) -> str:
    """Return what a file looks like: two looks that are equal mean that nothing was changed in between."""
    return (
        f"{status.st_dev} {status.st_ino} {status.st_mode} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"
    )


def looks_the_same(root: str, looks: Sequence[str]) -> bool:
    """Tell whether files below `root` look as they did; each text is `look`, a blank and the name ("" for the root)."""
    lstat = os.lstat
    try:
        for text in looks:
            name = text.split(" ", 6)[6]
            if text != f"{look(lstat(f'{root}/{name}'))} {name}":
                return False
    except (OSError, IndexError):
        return False
    return True


def _tell(note: Record, began: float, on_event: OnEvent) -> None:
    """Say of each step what a build from the cache says of it."""
    for text in note.texts("note"):
        on_event(_timed(StepEvent("build", "note", step=0, text=text), began))
    for step, text in enumerate(note.texts("event"), 1):
        status, number, count, stage, title = text.split("\t", 4)
        ends: Status = "cached" if status == "cached" else "done"
        said: tuple[Status, ...] = ("started", ends)
        for kind in said:
            event = StepEvent(title, kind, step=step, stage=stage, number=int(number), count=int(count))
            on_event(_timed(event, began))


def _timed(event: StepEvent, began: float) -> StepEvent:
    event.time = round(monotonic() - began, 6)
    return event
