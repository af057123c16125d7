"""Making a layer in a staging directory: tree, framing and owners table, from an archive or from entries made here."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import BinaryIO

from lamina.errors import InvalidInput
from lamina.events import Event, OnEvent
from lamina.layer import deep, owners
from lamina.layer.apply import Applier
from lamina.layer.content import StreamContent
from lamina.layer.digest import Source
from lamina.layer.flush import Flusher
from lamina.layer.framing import FramingWriter
from lamina.layer.lower import Lower
from lamina.layer.owners import LowerOwners
from lamina.layer.remove import remove_at
from lamina.layer.restore import Restorer
from lamina.linux import files
from lamina.tar.read import TarReader

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_STEP = 1 << 22  # bytes of progress that are worth an event

#: The files of a layer.
TREE, FRAMING, OWNERS = b"tree", b"framing", b"owners"


@dataclass(frozen=True, slots=True)
class Below:
    """What a layer is made over: the trees of the layers below, base first, and their owners tables."""

    trees: list[str]
    tables: list[str]


class Making:
    """A layer that is being made: add entries through `applier`, and their headers to `literal`.

    `lower` are the layers below, opened once: each costs a descriptor.
    """

    def __init__(
        self, staging: int, file: BinaryIO, lower: Lower, below: Below, *, space: str, single_id: bool
    ) -> None:
        self.literal = bytearray()
        self.lower = lower
        self.staging = staging
        self._framing = FramingWriter(file)
        self._restorer = Restorer(single_id=single_id)
        self.applier = Applier(
            staging,
            lower=lower,
            lower_owners=LowerOwners(below.trees, below.tables),
            framing=self._framing,
            restorer=self._restorer,
            space=space,
            literal=self.literal,
        )

    def finish(self) -> None:
        """Complete tree, framing and table."""
        self.applier.finish()
        self._framing.end_records()
        if self.applier.displaced:
            self._keep_replaced()
            remove_at(self.staging, b"replaced")
        self._framing.finish()
        if self._restorer.owners:
            _write(self.staging, OWNERS, owners.dump(self._restorer.owners))

    def refused(self) -> str:
        """Return a line about xattrs that this place refused, b"" for none."""
        counts = self._restorer.refused
        names = ", ".join(f"{os.fsdecode(name)} ({count})" for name, count in sorted(counts.items()))
        return (
            f"extended attributes kept in the owners table only, since they are refused here: {names}" if names else ""
        )

    def _keep_replaced(self) -> None:
        """Keep in the framing what later entries of the same archive replaced: the tree does not have it any more."""
        moments: dict[bytes, list[tuple[int, bytes]]] = {}
        for path, moment, place in self.applier.displaced:
            moments.setdefault(path, []).append((moment, place))
        aside = os.open(b"replaced", _DIRECTORY, dir_fd=self.staging)
        try:
            with deep.Files(aside) as replaced:
                for number, record in enumerate(self._framing.records()):
                    where = _place(record.path, number, moments) if record.length else None
                    if where is not None:
                        fd = replaced.open(where)
                        try:
                            self._framing.keep(number, fd, record.offset, record.length)
                        finally:
                            os.close(fd)
        finally:
            os.close(aside)


def _place(path: bytes, number: int, moments: dict[bytes, list[tuple[int, bytes]]]) -> bytes | None:
    """Return where the content of record `number` was moved to: by the first move of it or of a directory above it."""
    best: tuple[int, bytes] | None = None
    upper, rest = path, b""
    while upper:
        for moment, place in moments.get(upper, ()):
            if moment > number:
                if best is None or moment < best[0]:
                    best = moment, place + rest
                break
        upper = upper.rpartition(b"/")[0]
        rest = path[len(upper) :] if upper else b""
    return best and best[1]


@contextmanager
def making(staging: str, below: Below, *, space: str, single_id: bool, sync: bool = True) -> Iterator[Making]:
    """Make a layer in `staging`, which is made if it does not exist; what fails leaves no part of a layer there.

    The caller calls `finish` before the block ends.
    """
    os.makedirs(staging, mode=0o700, exist_ok=True)
    with ExitStack() as stack:
        fd = os.open(staging, _DIRECTORY)
        stack.callback(os.close, fd)
        for name in (TREE, FRAMING, OWNERS):
            if os.access(name, os.F_OK, dir_fd=fd, follow_symlinks=False):
                raise FileExistsError(errno.EEXIST, "there is a layer already", staging)
        try:
            with ExitStack() as inner:
                lower = inner.enter_context(Lower(below.trees))
                file = inner.enter_context(os.fdopen(_create(fd, FRAMING), "w+b"))
                made = Making(fd, file, lower, below, space=space, single_id=single_id)
                inner.callback(made.applier.close)
                yield made
            if sync:
                files.syncfs(fd)
        except BaseException:
            for name in (TREE, b"replaced", FRAMING, OWNERS):
                remove_at(fd, name)
            raise


def unpack(
    stream: int,
    staging: str,
    below: Below,
    *,
    space: str,
    single_id: bool,
    length: int | None = None,
    max_size: int | None = None,
    expected: str,
    sync: bool,
    on_event: OnEvent,
) -> dict[str, object]:
    """Apply the archive that `stream` gives (in its next `length` bytes, or all), and describe what came of it.

    InvalidInput where its diff id is not `expected` (if that is given), and for more than `max_size` bytes.
    """
    progress = Progress(os.fstat(stream).st_size if length is None else length, on_event)
    with making(staging, below, space=space, single_id=single_id, sync=sync) as made:
        with Source(stream, length, max_size) as source, Flusher(made.staging) as flusher:
            reader = TarReader(source, made.literal)
            content = StreamContent(reader)
            applier = made.applier
            for entry in reader:
                applier.add(entry, content)
                while reader.pending():  # content that nobody wants, of a whiteout for example
                    reader.skip(1 << 20)
                    applier.flush()
                progress.at(source.consumed)
                flusher.at(source.size)
            for _ in reader.drain():
                applier.flush()
        if expected and source.diff_id != expected:
            raise InvalidInput("apply", f"the layer {expected}", f"its content is {source.diff_id}")
        made.finish()
    progress.end(source.consumed, made.refused())
    return {
        "diff_id": source.diff_id,
        "size": source.size,
        "content": applier.content,
        "entries": applier.entries,
        "complete": applier.complete,
        "compression": source.compression,
    }


class Progress:
    """Events about how much of a stream was read, one for each few megabytes."""

    def __init__(self, total: int, on_event: OnEvent) -> None:
        self._total = total
        self._on_event = on_event
        self._next = 0

    def at(self, done: int) -> None:
        """Report `done` bytes, if that is news."""
        if done >= self._next:
            self._next = done + _STEP
            self._on_event(Event("import", "layer", done=done, total=self._total))

    def end(self, done: int, text: str) -> None:
        """Report the end."""
        self._on_event(Event("import", "layer", done=done, total=done, text=text, finished=True))


def _create(directory: int, name: bytes) -> int:
    return os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644, dir_fd=directory)


def _write(directory: int, name: bytes, data: bytes) -> None:
    with os.fdopen(_create(directory, name), "wb") as file:
        file.write(data)
