"""Whether `Store.build` is asked for something that was built already: on the way of each build, so it loads little."""

from __future__ import annotations

import os

from lamina.api.image import Image
from lamina.build.again import asked_for, find_again
from lamina.events import ignore

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lamina.api.building import BuildKeywords
    from lamina.api.store import Store
    from lamina.build.again import Asked

#: Options of builds that may be told from one another by these, and those that make a build one of its own kind.
_WORDS = ("tag", "target", "platform", "build_args", "labels", "annotations", "add_hosts", "network", "timestamp")
_SPECIAL = (
    "contexts", "no_cache", "explain_cache", "resume", "cache_from", "cache_to", "outputs", "metadata_file", "squash",
    "on_verified",
)  # fmt: skip


def asked_of(context: object, keywords: BuildKeywords) -> Asked | None:
    """Return what a build is asked for, or None for one that is to be carried out, step by step, in any case."""
    options: dict[str, object] = {**keywords}
    if any(options.get(name) for name in _SPECIAL) or options.get("pull", "missing") != "missing":
        return None
    words = [options.get(name) for name in _WORDS]
    if not all(word is None or isinstance(word, str | int | list | tuple | dict) for word in words):
        return None  # what can be read only once
    dockerfile = options.get("dockerfile")
    if not isinstance(context, str | os.PathLike) or not isinstance(dockerfile, str | os.PathLike | None):
        return None  # a stream
    path = os.fspath(dockerfile) if dockerfile else None
    return asked_for(os.fspath(context), path, [*words, os.environ.get("SOURCE_DATE_EPOCH")])


def built_before(store: Store, asked: Asked, keywords: BuildKeywords) -> Image | None:
    """Return the image of a build that was done already, its steps told as cached; None if it is to be carried out."""
    record = find_again(store.layout, asked, keywords.get("on_event", ignore))
    if record is None:
        return None
    tags = keywords.get("tag", ())
    names = [tags] if isinstance(tags, str) else [*tags]
    return Image(store, record, name=names[0] if names else "")
