"""`Image` and `Layer`: immutable views of what is in a store."""

from __future__ import annotations

import os

from lamina.errors import InvalidInput
from lamina.store.images import HOST

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from subprocess import CompletedProcess
    from typing import Literal, Unpack, overload

    from lamina.api.container import Container
    from lamina.api.running import RunKeywords
    from lamina.api.store import Store
    from lamina.oci.config import History, ImageConfig
    from lamina.store.images import ImageRecord
    from lamina.store.layers import LayerRecord


class Layer:
    """One layer of an image: `size` is that of its tar, `content` that of the files in it, in bytes."""

    __slots__ = ("_record", "directory")

    def __init__(self, record: LayerRecord, directory: str) -> None:
        self._record = record
        #: The directory of changes, in overlayfs's format. It never changes, and must not be changed.
        self.directory = directory

    @property
    def diff_id(self) -> str:
        """The digest of the layer's uncompressed tar."""
        return self._record.diff_id

    @property
    def size(self) -> int:
        return self._record.size

    @property
    def content(self) -> int:
        return self._record.content

    @property
    def entries(self) -> int:
        """The number of names in the tar."""
        return self._record.entries

    def __repr__(self) -> str:
        return f"Layer({self.diff_id!r}, size={self.size})"


class Image:
    """An image of a store. It does not change; what would change it makes another."""

    __slots__ = ("_config", "name", "record", "store")

    def __init__(self, store: Store, record: ImageRecord, *, name: str = "") -> None:
        self.store = store
        self.record = record
        #: What it was asked for by, or its first name.
        self.name = name
        self._config: ImageConfig | None = None

    @property
    def id(self) -> str:
        """The digest of the image's config; empty for the host."""
        return self.record.id

    @property
    def names(self) -> list[str]:
        """The references that name it now, itself or an index that it is part of, in their shortest spelling."""
        from lamina.store.bundles import names_of_images

        return [ref.familiar for ref in names_of_images(self.store.layout).get(self.record.manifest, ())]

    @property
    def created(self) -> int:
        """When it was made, in nanoseconds since the epoch; 0 where its config does not say."""
        return self.record.created

    @property
    def layers(self) -> list[Layer]:
        """The layers, base first."""
        from lamina.store.layers import read_layer, tree_path

        layout = self.store.layout
        return [Layer(read_layer(layout, name), tree_path(layout, name)) for name in self.record.layers]

    @property
    def size(self) -> int:
        """What the files of all layers take together, in bytes."""
        return sum(layer.content for layer in self.layers)

    @property
    def config(self) -> ImageConfig:
        """The image's config document."""
        if self._config is None:
            from lamina.api.running import host_config
            from lamina.store.publish import read_config

            self._config = read_config(self.store.layout, self.id) if self.id else host_config(self.record)
        return self._config

    @property
    def history(self) -> tuple[History, ...]:
        """How it was made, oldest step first; a step with `empty_layer` has no layer."""
        return self.config.history

    def tag(self, name: str) -> None:
        """Let `name` mean this image from now on."""
        from lamina.oci.reference import parse_name
        from lamina.store.publish import tag_image
        from lamina.store.staging import Staging

        if not self.id:
            raise InvalidInput("tag the image", HOST, "this machine's root is no image of the store")
        with Staging(self.store.layout) as staging:
            tag_image(staging, self.record, parse_name(name))

    if TYPE_CHECKING:

        @overload
        def run(
            self,
            argv: Sequence[str] | None = None,
            *,
            input: bytes | None = None,
            text: Literal[False] = False,
            check: bool = False,
            timeout: float | None = None,
            **options: Unpack[RunKeywords],
        ) -> CompletedProcess[bytes]: ...

        @overload
        def run(
            self,
            argv: Sequence[str] | None = None,
            *,
            input: str | None = None,
            text: Literal[True],
            check: bool = False,
            timeout: float | None = None,
            **options: Unpack[RunKeywords],
        ) -> CompletedProcess[str]: ...

    def run(
        self,
        argv: Sequence[str] | None = None,
        *,
        input: bytes | str | None = None,  # noqa: A002  # subprocess.run's name for it
        text: bool = False,
        check: bool = False,
        timeout: float | None = None,
        **options: Unpack[RunKeywords],
    ) -> CompletedProcess[bytes] | CompletedProcess[str]:
        """Run a command over the image and throw away what it writes; like subprocess.run with its output captured.

        Without `argv` the image's own command is run. Without `input`, standard input is empty. `check` and `timeout`
        (seconds) raise what subprocess.run raises; the options are those of `RunOptions`. Raises NotFound where the
        command does not exist.
        """
        with self._container(options, throw_away=True) as box:
            # The overloads tell by literals, and here are variables.
            return box.run(argv, input=input, text=text, check=check, timeout=timeout)  # type: ignore[call-overload, no-any-return]

    def container(self, *, name: str = "", **options: Unpack[RunKeywords]) -> Container:
        """Make a container of the image for a `with` block: what is run in it shares an upper, gone after the block."""
        return self._container(options, name=name)

    def _container(self, options: RunKeywords, *, name: str = "", throw_away: bool = False) -> Container:
        from lamina.api.running import run_options

        return self.store.create(self, run_options(None, options), name=name, throw_away=throw_away, pinned=True)

    def inspect(self) -> dict[str, object]:
        """Return everything about the image as plain data, with docker's names where the thing is the same."""
        from lamina.api.inspecting import inspect_image

        return inspect_image(self)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Image):
            return NotImplemented
        return (self.store.root, self.record.manifest) == (other.store.root, other.record.manifest)

    def __hash__(self) -> int:
        return hash((self.store.root, self.record.manifest))

    def __repr__(self) -> str:
        return f"Image({self.name or os.path.basename(self.id)!r}, id={self.id!r})"
