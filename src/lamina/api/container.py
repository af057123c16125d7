"""`Container`: an image with a writable upper, and what was run in it."""

from __future__ import annotations

from lamina.api.surroundings import now, this_machine
from lamina.errors import Conflict
from lamina.events import ignore
from lamina.store.containers import create_container, is_held, read_state, status_of
from lamina.store.images import HOST
from lamina.store.staging import Staging

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Sequence
    from subprocess import CompletedProcess
    from types import TracebackType
    from typing import BinaryIO, Literal, Unpack, overload

    from lamina.api.image import Image
    from lamina.api.running import RunKeywords
    from lamina.api.store import Store
    from lamina.events import OnEvent
    from lamina.runtime.spec import RunOptions
    from lamina.store.containers import ContainerRecord, ContainerState, Status
    from lamina.store.images import ImageRecord


class Change:
    """One name that a container changed: `kind` is "A" (added), "C" (changed) or "D" (deleted), `path` absolute."""

    __slots__ = ("kind", "path")

    def __init__(self, kind: str, path: str) -> None:
        self.kind = kind
        self.path = path

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Change) and (self.kind, self.path) == (other.kind, other.path)

    def __hash__(self) -> int:
        return hash((self.kind, self.path))

    def __repr__(self) -> str:
        return f"Change({self.kind!r}, {self.path!r})"


class Container:
    """A container of a store: its upper is kept until it is removed, by `remove` or at the end of a `with` block."""

    __slots__ = ("_options", "_pin", "_throw_away", "record", "store")

    def __init__(self, store: Store, record: ContainerRecord) -> None:
        self.store = store
        self.record = record
        self._options: RunOptions | None = None
        self._throw_away = False
        self._pin: Staging | None = None

    @classmethod
    def create(
        cls,
        store: Store,
        image: Image | str,
        options: RunOptions | None,
        *,
        name: str,
        throw_away: bool,
        pinned: bool,
    ) -> Container:
        """Make a container; `Store.create` says what the arguments mean."""
        staging = Staging(store.layout).__enter__()
        try:
            with store.layout.publishing():
                found = store.find(image)
                _check_machine(found)
                record = create_container(
                    staging,
                    found,
                    image_name=image if isinstance(image, str) else image.name or image.id,
                    name=name,
                    command=command_of(found, options),
                    labels=options.labels if options else {},
                    created=now(),
                    durable=not throw_away,
                )
        except BaseException:
            staging.__exit__(None, None, None)
            raise
        made = cls(store, record)
        made._options, made._throw_away = options, throw_away
        if pinned:
            made._pin = staging
        else:
            staging.__exit__(None, None, None)
        return made

    @property
    def id(self) -> str:
        """64 hexadecimal digits."""
        return self.record.id

    @property
    def name(self) -> str:
        return self.record.name

    @property
    def image_name(self) -> str:
        """What the image was called when the container was made."""
        return self.record.image_name

    @property
    def image(self) -> Image:
        """The image that it was made of."""
        from lamina.api.image import Image
        from lamina.api.running import image_record_of

        return Image(self.store, image_record_of(self.store, self.record), name=self.record.image_name)

    @property
    def created(self) -> int:
        """When it was made, in nanoseconds since the epoch."""
        return self.record.created

    @property
    def command(self) -> list[str]:
        """What it ran last, or was made to run."""
        return self.state.command or self.record.command

    @property
    def labels(self) -> dict[str, str]:
        return {key: value for key, _, value in (label.partition("=") for label in self.record.labels)}

    @property
    def state(self) -> ContainerState:
        """How far it is: when it was started, when it ended, with what exit code."""
        return read_state(self.store.layout, self.id)

    @property
    def status(self) -> Status:
        """ "created", "running" or "exited"."""
        return status_of(self.store.layout, self.id)

    @property
    def exit_code(self) -> int | None:
        """The exit code of what it ran last; None before its end, and for an end that nobody saw."""
        return self.state.exit_code

    @property
    def directory(self) -> str:
        """The container's own directory in the store, with `upper`, `work` and `merged`."""
        return self.record.directory(self.store.layout)

    def start(self, *, stdin: int = 0, stdout: int = 1, stderr: int = 2, on_event: OnEvent = ignore) -> int:
        """Run what the container was made to run, with these descriptors, and return its exit code as a shell's.

        What a person should know of the run comes as an event with a text. Raises Conflict where it runs already.
        """
        from lamina.api.running import run_options, start
        from lamina.runtime.run import Streams

        options = run_options(None, {}, base=self._asked())
        streams = Streams(stdin, stdout, stderr)
        return start(self, options, self.store.worker, streams, throw_away=self._throw_away, on_event=on_event)

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
        """Run a command in the container; what it writes is there for the next one. Otherwise as `Image.run`.

        The options come on top of those that the container was made with. One command runs at a time (Conflict).
        """
        from lamina.api.running import run_captured, run_options

        return run_captured(
            self,
            run_options(argv, options, base=self._asked()),
            given=input,
            text=text,
            check=check,
            timeout=timeout,
            throw_away=self._throw_away,
        )

    def _asked(self) -> RunOptions:
        """Return the options that it was made with; of one that was found in the store, its command."""
        from lamina.runtime.spec import RunOptions

        return self._options or RunOptions(entrypoint=[], command=self.record.command)

    def diff(self) -> list[Change]:
        """Return what the container changed, sorted by path."""
        from lamina.api.committing import list_changes

        return [Change(kind, path) for kind, path in list_changes(self)]

    def export(self, target: str | os.PathLike[str] | BinaryIO) -> None:
        """Write the container's whole file tree as one tar to a file or a stream, whether it runs or not.

        Raises InvalidInput for a container over this machine's own root.
        """
        from lamina.api.transfers import export

        export(self, target)

    def commit(
        self,
        name: str | None = None,
        *,
        changes: Iterable[str] = (),
        author: str = "",
        message: str = "",
        standalone: bool = False,
        on_event: OnEvent = ignore,
    ) -> Image:
        """Make an image of the container's image and what it changed as one more layer; the container stays as it is.

        `changes` are Dockerfile-style settings ("ENV A=b"). Of a container over this machine's root the image is a
        change that runs over the same machine only; with `standalone` it is everything that the container sees, as one
        layer, and runs everywhere. Raises Conflict while the container runs.
        """
        from lamina.api.committing import commit

        return commit(
            self, name, changes=changes, author=author, message=message, standalone=standalone, on_event=on_event
        )

    def inspect(self) -> dict[str, object]:
        """Return everything about the container as plain data, with docker's names where the thing is the same."""
        from lamina.api.inspecting import inspect_container

        return inspect_container(self)

    def kill(self) -> None:
        """Kill what runs in the container and wait for its end; nothing where nothing runs."""
        if is_held(self.store.layout, self.id):
            from lamina.store.stop import kill_container

            self.store.worker.call(kill_container, directory=self.directory)

    def remove(self, *, force: bool = False) -> None:
        """Remove the container and all that was written in it; may be repeated.

        Raises Conflict while it runs; with `force` it is killed first.
        """
        from lamina.store.discard import remove_container

        if force:
            self.kill()
        remove_container(self.store.layout, self.store.worker, self.record, durable=not self._throw_away)
        self._release()

    def _release(self) -> None:
        if self._pin is not None:
            pin, self._pin = self._pin, None
            pin.__exit__(None, None, None)

    def __enter__(self) -> Container:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.remove(force=True)
        finally:
            self._release()

    def __repr__(self) -> str:
        return f"Container({self.name!r}, id={self.id[:12]!r})"


def command_of(image: ImageRecord, options: RunOptions | None) -> list[str]:
    """Return what a container of `image` is to run: with an entrypoint given, the image's command does not apply."""
    entrypoint = options.entrypoint if options else None
    command = options.command if options else None
    default = image.cmd if entrypoint is None else []
    return [*(image.entrypoint if entrypoint is None else entrypoint), *(default if command is None else command)]


def _check_machine(image: ImageRecord) -> None:
    if image.host and image.host != this_machine():
        raise Conflict(
            "run the image", image.id or HOST, "it is a change over another machine's root", "run it on that machine"
        )
