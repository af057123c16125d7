"""Images come into the store: blobs are fetched, checked, unpacked and published, layers side by side.

For each layer there is one pass over its bytes: as they come in they are hashed, written to a file if the blob is kept,
and handed through a pipe to a job that decompresses and unpacks them and checks the diff id. A blob that is the layer's
own tar is not kept (`lamina.store`); one that already lies on this machine uncompressed is read where it is.

A layer that names all its parent directories is the same over everything, so that layers need not wait for those below
them. Which kind a layer is shows at its end: one that turns out to need what lies below is unpacked again, in order.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import Event as Flag
from threading import Lock
from typing import TYPE_CHECKING

from lamina.errors import InvalidInput, LaminaError, NotFound
from lamina.events import Event, OnEvent
from lamina.ids.worker import Fd
from lamina.oci.config import ImageConfig, parse_config
from lamina.oci.descriptor import CONFIG_TYPES, INDEX_TYPES, Descriptor
from lamina.oci.digest import ChainId, DiffId, chain_ids, hex_of, short
from lamina.oci.index import parse_index
from lamina.oci.manifest import Manifest, parse_manifest
from lamina.oci.platform import Platform
from lamina.oci.reference import Reference
from lamina.store import making
from lamina.store.blobs import blob_thing, has_blob, publish_blob
from lamina.store.images import ImageRecord
from lamina.store.layers import has_layer, read_layer, settle_layers
from lamina.store.publish import check_name, publish_documents, tag_image
from lamina.store.staging import Staging
from lamina.transfer.content import Source, verified
from lamina.transfer.section import Section, whole_file

if TYPE_CHECKING:
    from lamina.ids.worker import Worker

_AT_ONCE = 4  # layers that are worked on side by side
#: Indexes within indexes.
MAX_NESTING = 4
_STEP = 1 << 20  # bytes of progress that are worth an event
_PIPE = 1 << 20  # an ordinary user may have a pipe as large as this (pipe(7))


def find_manifest(source: Source, descriptor: Descriptor, platform: Platform) -> Descriptor:
    """Return the manifest that `descriptor` means for `platform`: itself, or one out of the index that it is."""
    for _ in range(MAX_NESTING):
        if descriptor.media_type not in INDEX_TYPES:
            return descriptor
        index = parse_index(source.document(descriptor), f"the index {descriptor.digest}")
        chosen = index.choose(platform)
        if chosen is None:
            offered = sorted({str(entry.platform) for entry in index.manifests if entry.platform})
            reason = f"it is for {', '.join(offered) or 'nothing that it names'}"
            raise NotFound("find an image for", platform, reason, "--platform chooses another")
        descriptor = chosen
    raise InvalidInput("use the index", descriptor.digest, f"indexes lie in it more than {MAX_NESTING} deep")


def take_image(
    staging: Staging,
    worker: Worker,
    source: Source,
    manifest: Descriptor,
    names: Sequence[Reference],
    *,
    task: str,
    max_size: int | None = None,
    on_event: OnEvent,
) -> ImageRecord:
    """Make the image `manifest` of `source` one of the store, called by `names`; `task` names the work in events.

    The layers may have `max_size` bytes together, unpacked; without, each may be large if it is not far smaller packed.

    Nothing is visible before everything was checked. Raises InvalidInput where something is not what it should be.
    """
    for name in names:
        check_name(name)
    document, config = _documents(source, manifest)
    chains = chain_ids(config.diff_ids)
    layers = [_Layer(*parts) for parts in zip(document.layers, config.diff_ids, chains, strict=True)]
    with _Taking(staging, worker, source, task=task, max_size=max_size, on_event=on_event) as taking:
        unpacked = taking.layers(layers)
    image = publish_documents(staging, document, config, unpacked, reference=names[0] if names else None)
    for name in names[1:]:
        tag_image(staging, image, name)
    return image


def _documents(source: Source, descriptor: Descriptor) -> tuple[Manifest, ImageConfig]:
    what = f"the manifest {descriptor.digest}"
    manifest = parse_manifest(source.document(descriptor), what)
    if manifest.config.media_type not in CONFIG_TYPES:
        reason = f"it is an artifact ({manifest.kind}), not an image"
        raise InvalidInput("use", what, reason, "lamina copy takes artifacts, also into the store")
    config = parse_config(source.document(manifest.config), f"the image config {manifest.config.digest}")
    if len(config.diff_ids) != len(manifest.layers):
        reason = f"it has {len(manifest.layers)} layers, its config {len(config.diff_ids)}"
        raise InvalidInput("use", what, reason)
    return manifest, config


class _Abandoned(Exception):
    """Something else failed, so that these bytes are of no use any more."""


@dataclass(frozen=True, slots=True)
class _Layer:
    descriptor: Descriptor
    diff_id: DiffId
    chain: ChainId

    @property
    def kept(self) -> bool:
        """Whether the store keeps the blob: it is not the layer's tar itself."""
        return str(self.descriptor.digest) != str(self.diff_id)

    @property
    def is_base(self) -> bool:
        return str(self.chain) == str(self.diff_id)

    @property
    def names(self) -> tuple[str, str]:
        """What the layer may be called in the store."""
        return f"diff-{hex_of(self.diff_id)}", f"chain-{hex_of(self.chain)}"


@dataclass(frozen=True, slots=True)
class _Taken:
    """A layer that was fetched: its name in the store, or None where it needs those below, and its bytes if at hand."""

    name: str | None
    bytes: Section | None = None


class _Taking:
    """The layers of one image on their way into the store."""

    def __init__(
        self,
        staging: Staging,
        worker: Worker,
        source: Source,
        *,
        task: str,
        max_size: int | None,
        on_event: OnEvent,
    ) -> None:
        self._staging = staging
        self._worker = worker
        self._source = source
        self._task = task
        self._max_size = max_size
        self._on_event = on_event
        self._telling = Lock()
        self._stopped = Flag()
        self._pool = ThreadPoolExecutor(_AT_ONCE, "lamina-layer")
        self._futures: dict[str, Future[_Taken]] = {}
        self._names: list[str] = []  # of the layers that are done, base first

    def __enter__(self) -> _Taking:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._stopped.set()
        if kind is not None:
            self._source.stop()
        if kind is not None and not issubclass(kind, Exception):  # whoever interrupts does not want to wait for jobs
            self._worker.close()
        self._pool.shutdown(cancel_futures=True)

    def layers(self, layers: Sequence[_Layer]) -> list[str]:
        """Return the names of the layers in the store, base first."""
        for place, layer in enumerate(layers):
            if layer.descriptor.digest not in self._futures:  # an image may have one layer twice
                self._futures[layer.descriptor.digest] = self._pool.submit(self._take, layer, place)
        for layer in layers:
            taken = self._await(self._futures[layer.descriptor.digest])
            self._names.append(self._named(layer, taken, self._names))
        self._check_size(self._names)
        settle_layers(self._staging.layout, self._names)  # together: the disk is waited for once
        return self._names

    def _await(self, future: Future[_Taken]) -> _Taken:
        try:
            return future.result()
        except _Abandoned:  # another layer failed: its error is the one to tell
            for other in self._futures.values():
                if not other.cancelled() and not isinstance(other.exception(), _Abandoned | None):
                    other.result()
            raise

    def _check_size(self, names: Sequence[str]) -> None:
        if self._max_size is not None:
            size = sum(read_layer(self._staging.layout, name).size for name in names)
            if size > self._max_size:
                raise InvalidInput("unpack", "the image", f"its layers have {size} bytes, more than {self._max_size}")

    def _named(self, layer: _Layer, taken: _Taken, below: Sequence[str]) -> str:
        if taken.name in layer.names:
            return taken.name or ""
        name = self._present(layer)
        if name is None:
            section = taken.bytes or self._at_hand(layer) or self._spooled(layer)
            name = self._apply(layer, section, below)
        assert name is not None  # what lies below was given
        return name

    # One layer, in a thread of the pool

    def _take(self, layer: _Layer, place: int) -> _Taken:
        if self._stopped.is_set():
            raise _Abandoned
        try:
            taken = self._taken(layer, place)
        except BaseException:
            self._stopped.set()
            raise
        size = layer.descriptor.size
        self._tell(layer, Event("", "", done=size, total=size, finished=True))
        return taken

    def _taken(self, layer: _Layer, place: int) -> _Taken:
        name = self._present(layer)
        section = self._at_hand(layer)
        if name is not None:
            if layer.kept and section is None:
                self._spooled(layer)
            return _Taken(name)
        # What lies below may be there already; else the layer may turn out not to need it.
        below = list(self._names) if len(self._names) == place else None
        if section is None:
            return self._streamed(layer, below)
        return _Taken(self._apply(layer, section, below), section)

    def _present(self, layer: _Layer) -> str | None:
        """Return the name of the layer if the store has it, from now on pinned."""
        layout = self._staging.layout
        with layout.publishing():
            for name in layer.names:
                self._staging.pin(f"layers/{name}")
                if has_layer(layout, name):
                    return name
        return None

    def _at_hand(self, layer: _Layer) -> Section | None:
        """Return the layer's bytes if they are on this machine and need no check other than the diff id."""
        layout, digest = self._staging.layout, layer.descriptor.digest
        if layer.kept:
            with layout.publishing():
                self._staging.pin(blob_thing(digest))
                return whole_file(layout.path(blob_thing(digest))) if has_blob(layout, digest) else None
        blob = self._source.blob(layer.descriptor)
        if not isinstance(blob, Section):
            return None
        if blob.size != layer.descriptor.size:
            reason = f"it has {blob.size} bytes, not {layer.descriptor.size}"
            raise InvalidInput("use the blob", digest, reason)
        return blob

    def _apply(self, layer: _Layer, section: Section, below: Sequence[str] | None) -> str | None:
        """Unpack the bytes; `below` is None where that should not be needed: then None is returned if it is."""

        def tell(event: Event) -> None:
            self._tell(layer, Event("", "", done=event.done, total=event.total, text=event.text))

        with section.opened() as fd:
            return self._unpack(layer, Fd(fd), section.size, below, tell)

    def _unpack(
        self, layer: _Layer, stream: Fd, length: int | None, below: Sequence[str] | None, on_event: OnEvent
    ) -> str | None:
        staging, worker, size, expected = self._staging, self._worker, self._max_size, layer.diff_id
        if below is None and not layer.is_base:
            made = making.apply_anywhere(
                staging, worker, stream, length=length, max_size=size, expected=expected, sync=False, on_event=on_event
            )
            return made.name if made else None
        return making.apply(
            staging, worker, stream, below or (), length=length, max_size=size, expected=expected, sync=False,
            on_event=on_event,
        ).name  # fmt: skip

    # Bytes from elsewhere

    def _streamed(self, layer: _Layer, below: Sequence[str] | None) -> _Taken:
        """Fetch the bytes and unpack them as they come."""
        path = self._staging.new_path()
        reader, writer = os.pipe()
        failed = Flag()
        with ThreadPoolExecutor(1, "lamina-fetch") as pool:
            fetching = pool.submit(self._fetch, layer, path, writer, failed)
            made: str | None = None
            problem: LaminaError | OSError | None = None
            try:
                made = self._unpack(layer, Fd(reader), None, below, lambda event: self._tell_text(layer, event))
            except (LaminaError, OSError) as error:
                failed.set()
                problem = error
            finally:
                os.close(reader)
            cause = fetching.exception()
        # A stream that ends too early for the job did so because fetching failed: then that is the error to tell.
        if cause is not None:
            raise cause
        if problem is not None:
            raise problem
        return _Taken(made, self._keep(layer, path))

    def _spooled(self, layer: _Layer) -> Section:
        """Fetch the bytes and unpack nothing."""
        path = self._staging.new_path()
        self._fetch(layer, path, -1, Flag())
        return self._keep(layer, path)

    def _fetch(self, layer: _Layer, path: str, pipe: int, failed: Flag) -> None:
        """Write the blob, as it comes and checked, to a new file and into `pipe`, which is closed at the end."""
        done = told = 0
        try:
            if pipe >= 0:
                fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE)
            with open(path, "xb", buffering=0) as file:
                for piece in verified(self._source.blob(layer.descriptor), layer.descriptor):
                    if failed.is_set():
                        return  # nobody wants it any more
                    if self._stopped.is_set():
                        raise _Abandoned
                    _write(file.fileno(), piece)
                    pipe = _feed(pipe, piece)
                    done += len(piece)
                    if done - told >= _STEP:
                        told = done
                        self._tell(layer, Event("", "", done=done, total=layer.descriptor.size))
                os.fsync(file.fileno())
        finally:
            if pipe >= 0:
                os.close(pipe)

    def _keep(self, layer: _Layer, path: str) -> Section:
        """Publish the file if the store keeps such blobs; return where it is."""
        if not layer.kept:
            return whole_file(path)
        layout, digest = self._staging.layout, layer.descriptor.digest
        with layout.publishing():
            self._staging.pin(blob_thing(digest))
            if has_blob(layout, digest):
                os.unlink(path)
            else:
                publish_blob(self._staging, path, digest)
        return whole_file(layout.path(blob_thing(digest)))

    def _tell_text(self, layer: _Layer, event: Event) -> None:
        if event.text:  # how far it is, the fetching tells
            self._tell(layer, Event("", "", text=event.text))

    def _tell(self, layer: _Layer, event: Event) -> None:
        subject = short(layer.descriptor.digest)
        with self._telling:
            self._on_event(
                Event(
                    self._task,
                    subject,
                    done=event.done,
                    total=event.total,
                    text=event.text,
                    finished=event.finished,
                )
            )


def _write(fd: int, piece: bytes) -> None:
    view = memoryview(piece)
    while view:
        view = view[os.write(fd, view) :]


def _feed(pipe: int, piece: bytes) -> int:
    """Write to `pipe`; return it, or -1, closed, where its reader has read all that it wants."""
    if pipe < 0:
        return pipe
    try:
        _write(pipe, piece)
    except BrokenPipeError:
        os.close(pipe)
        return -1
    return pipe
