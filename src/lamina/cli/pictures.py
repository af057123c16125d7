"""What `lamina show` draws: a stack of the store as the value that is drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamina.api.image import Image
from lamina.cli.picture import Box, Picture, without_holders
from lamina.cli.records import find, short_id
from lamina.cli.text import size
from lamina.errors import one_line
from lamina.layer import jobs
from lamina.runtime import shell
from lamina.store.containers import uppers_of
from lamina.store.images import HOST

if TYPE_CHECKING:
    from lamina.api import Container, Store


def picture_of(store: Store, name: str) -> Picture:
    """Return the picture of the container or image called `name`. Reads all directories of its layers."""
    found = find(store, name) if name != HOST else store.image(HOST)
    return _of_image(found) if isinstance(found, Image) else _of_container(found)


def _of_image(image: Image) -> Picture:
    layers = _boxes(image)
    count = len(image.layers)
    words = [f"{count} layer{'' if count == 1 else 's'}", size(image.size), image.record.platform]
    names = [name for name in image.names if name != image.name]
    facts = [", ".join(words), image.id] if image.id else ["what a container over this machine begins with"]
    facts += [f"also called {', '.join(names)}"] if names else []
    return Picture(
        one_line(image.name or short_id(image.id, whole=False)), facts, layers, None, "what a container sees as /"
    )


def _of_container(container: Container) -> Picture:
    image, status = container.image, container.status
    if status == "exited" and container.exit_code is not None:
        status_text = f"exited ({container.exit_code})"
    else:
        status_text = status
    facts = [f"container of {one_line(container.image_name)}, {status_text}", container.id]
    seen = "what its command sees as /" if status == "running" else "what a command in it sees as /"
    return Picture(one_line(container.name), facts, _boxes(image), _upper(container), seen)


def _upper(container: Container) -> Box:
    store = container.store
    uppers = uppers_of(store.layout, container.id)
    total = sum(store.worker.call(jobs.summarize, tree=tree, below=[])["bytes"] for _, tree in uppers)
    changes = [(change.kind, one_line(change.path)) for change in container.diff()]
    where = uppers[0][1] if len(uppers) == 1 else container.directory
    return Box(one_line(shell.command(container.command)), total, where, without_holders(changes))


def _boxes(image: Image) -> list[Box]:
    """Return the layers of an image, base first; over the host, the host is the lowest."""
    worker = image.store.worker
    steps = [step for step in image.history if not step.empty_layer]
    boxes = []
    below: list[str] = []
    if image.record.host:
        below = ["/"]
        boxes.append(Box("this machine's own files", None, "/", (), "read-only, as they are now"))
    for place, layer in enumerate(image.layers):
        made_by = steps[place].created_by if place < len(steps) else ""
        listed = worker.call(jobs.list_changes, uppers=[["", layer.directory]], below=below, ignore=[])
        changes = [(kind, one_line(path)) for kind, path in listed]
        boxes.append(Box(one_line(made_by), layer.content, layer.directory, without_holders(changes)))
        below = [*below, layer.directory]
    return boxes
