"""Carrying out `--output`: the image of the store goes to files, directories, streams and registries."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

from lamina.build.output import Output
from lamina.build.place import flat_writer, place_tree
from lamina.errors import InvalidInput, NotFound
from lamina.events import ignore
from lamina.ids.worker import Fd
from lamina.oci.descriptor import Descriptor
from lamina.oci.reference import Reference, parse_name
from lamina.store.images import ImageRecord, image_thing
from lamina.store.publish import things_of
from lamina.store.staging import Staging
from lamina.transfer.pull import push_image
from lamina.transfer.save import new_file, save_images

if TYPE_CHECKING:
    from collections.abc import Callable

    from lamina.ids.worker import Worker
    from lamina.store.layout import Layout

_FORMATS = {"oci": "oci-archive", "docker": "docker-archive"}


def check_places(outputs: Sequence[Output]) -> None:
    """Refuse, before anything is built, outputs that cannot be written where they are to go."""
    for output in outputs:
        if not output.dest or output.to_stdout:
            continue
        path = os.path.abspath(output.dest)
        if output.kind == "local" or not output.archive:
            if os.path.lexists(path) and not os.path.isdir(path):
                raise InvalidInput("write to", path, "it is no directory")
        elif os.path.isdir(path):
            raise InvalidInput("write", path, "it is a directory", "dest=FILE")
        elif not os.path.isdir(os.path.dirname(path)):
            raise NotFound("write", path, "there is no such directory")


class Delivery:
    """Gives an image away. `stdout` is where "-" leads; `names` are the image's own."""

    def __init__(
        self,
        layout: Layout,
        worker: Worker,
        image: ImageRecord,
        *,
        names: Sequence[Reference],
        environ: Mapping[str, str],
        stdout: BinaryIO,
        say: Callable[[str], None],
    ) -> None:
        self._layout = layout
        self._worker = worker
        self._image = image
        self._names = names
        self._environ = environ
        self._stdout = stdout
        self._say = say

    def deliver(self, output: Output) -> Descriptor | None:
        """Make one output; return the manifest that it has, None for files or where it is the store's own."""
        match output.kind:
            case "oci" | "docker" if output.dest:
                return self._save(output)
            case "tar":
                self._tar(output)
            case "local":
                self._local(output)
            case "image" if output.push:
                return self._push(output)
            case _:  # it is in the store, or was wanted for the cache alone
                pass
        return None

    def _named(self, output: Output) -> list[Reference]:
        return [parse_name(name) for name in output.names] or list(self._names)

    def _save(self, output: Output) -> Descriptor:
        (manifest,) = save_images(
            self._layout,
            self._worker,
            [(self._image, self._named(output))],
            self._stdout if output.to_stdout else output.dest,
            format=_FORMATS[output.kind] if output.archive else "oci-dir",
            compression=output.compression or "none",
            on_event=ignore,
        )
        return manifest

    def _push(self, output: Output) -> Descriptor:
        names = self._named(output)
        if not names:
            raise InvalidInput("push the image", "without a name", "nothing says where to", "name=REGISTRY/NAME:TAG")
        for name in names:
            manifest = push_image(
                self._layout,
                self._worker,
                self._image,
                name,
                compression=output.compression or "gzip",
                environ=self._environ,
                on_event=ignore,
            )
            self._say(f"pushed {name.familiar}")
        return manifest

    @contextmanager
    def _tree(self) -> Iterator[Callable[[Fd], None]]:
        """Yield what writes the image's tree as one tar."""
        with Staging(self._layout) as staging:
            with self._layout.publishing():
                staging.pin(image_thing(self._image.manifest), *things_of(self._image))
            empty = staging.new_path()
            os.mkdir(empty)
            try:
                yield flat_writer(self._layout, self._worker, self._image.layers, empty)
            finally:
                os.rmdir(empty)

    def _tar(self, output: Output) -> None:
        with self._tree() as write, new_file(self._stdout if output.to_stdout else output.dest) as fd:
            write(Fd(fd))

    def _local(self, output: Output) -> None:
        with self._tree() as write:
            left_out = place_tree(self._worker, write, output.dest)
        if left_out:
            self._say(f"devices are left out: {', '.join(left_out)}")
