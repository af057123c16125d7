"""Between the API and `lamina.runtime`: options from keywords, starting a container, capturing what it says."""

from __future__ import annotations

import os

from lamina.errors import StoreError
from lamina.events import Event, ignore
from lamina.store.containers import hold_container
from lamina.store.images import read_image

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from subprocess import CompletedProcess
    from typing import TypedDict

    from lamina.api.container import Container
    from lamina.api.store import Store
    from lamina.events import OnEvent
    from lamina.ids.worker import Worker
    from lamina.oci.config import ImageConfig
    from lamina.overlay.drivers import Driver
    from lamina.runtime.run import Streams
    from lamina.runtime.spec import Bind, Device, Network, RunOptions, Tmpfs, Ulimit
    from lamina.store.containers import ContainerRecord
    from lamina.store.images import ImageRecord

    class RunKeywords(TypedDict, total=False):
        """The options of `lamina.RunOptions`, as keywords of a call."""

        entrypoint: Sequence[str]
        env: Mapping[str, str]
        workdir: str
        user: str
        mounts: Sequence[Bind | Tmpfs]
        devices: Sequence[Device]
        read_only: bool
        hostname: str
        network: Network
        add_hosts: Sequence[tuple[str, str]]
        init: bool
        no_new_privileges: bool
        seccomp: str
        privileged: bool
        cap_add: Sequence[str]
        cap_drop: Sequence[str]
        ulimits: Sequence[Ulimit]
        labels: Mapping[str, str]
        driver: Driver


def run_options(
    argv: Sequence[str] | None, keywords: RunKeywords | Mapping[str, object], *, base: RunOptions | None = None
) -> RunOptions:
    """Return the options of one run: those of `base`, `keywords` in their place, variables added to its own."""
    from lamina.runtime.spec import RunOptions

    if isinstance(argv, str | bytes):
        raise TypeError("argv is a sequence of strings, not one string")
    unknown = keywords.keys() - set(RunOptions.__slots__)
    if unknown:
        raise TypeError(f"there is no option {min(unknown)!r}")
    fields = {name: getattr(base, name) for name in RunOptions.__slots__} if base else {}
    for name, value in keywords.items():
        fields[name] = list(value) if isinstance(value, tuple) else value
    if base and "env" in keywords:
        fields["env"] = {**base.env, **fields["env"]}
    if argv is not None:
        fields["command"] = [os.fspath(word) for word in argv]
    return RunOptions(**fields)


def image_record_of(store: Store, record: ContainerRecord) -> ImageRecord:
    """Return the image that a container was made of; its record stays while there are containers."""
    from lamina.store.images import HOST

    if not record.image:
        return store.find(HOST)
    image = read_image(store.layout, record.image)
    if image is None:
        raise StoreError("use the container", record.name, f"its image {record.image_id} is missing from {store.root}")
    return image


def host_config(record: ImageRecord) -> ImageConfig:
    """Return the config of this machine's root as an image."""
    from lamina.oci.config import HOST_LABEL, ImageConfig, Settings
    from lamina.oci.platform import parse_platform

    return ImageConfig(parse_platform(record.platform), Settings(labels={HOST_LABEL: record.host})).encoded()


def start(
    container: Container,
    options: RunOptions,
    worker: Worker,
    streams: Streams,
    *,
    throw_away: bool,
    kill_on_term: bool = False,
    on_event: OnEvent = ignore,
) -> int:
    """Run a container's command and return its exit code; what a person should know of it comes as events."""
    from lamina.runtime.run import run_container

    layout, record = container.store.layout, container.record
    image = image_record_of(container.store, record)
    lock = hold_container(layout, record)
    try:
        outcome = run_container(
            layout,
            worker,
            record,
            image,
            options,
            streams=streams,
            lock=lock,
            throw_away=throw_away,
            term=os.environ.get("TERM", ""),
            kill_on_term=kill_on_term,
        )
    finally:
        os.close(lock)
    for note in outcome.notes:
        on_event(Event("run", record.name, text=note))
    return outcome.status


def run_captured(
    container: Container,
    options: RunOptions,
    *,
    given: bytes | str | None,
    text: bool,
    check: bool,
    timeout: float | None,
    throw_away: bool,
) -> CompletedProcess[bytes] | CompletedProcess[str]:
    """Run a container's command with pipes, and return what it said, as subprocess.run does."""
    import subprocess

    data = given.encode("utf-8", "surrogateescape") if isinstance(given, str) else given
    options.stdin = data is not None

    def run(streams: Streams) -> int:
        # Pipes need threads to fill and drain them, and whoever forks a container may have none: the helper does it.
        launcher = container.store.launcher
        return start(container, options, launcher, streams, throw_away=throw_away, kill_on_term=True)

    with _Deadline(timeout, container.kill) as deadline:
        code, out, err = _with_pipes(run, data)
    argv = container.command
    if deadline.passed:
        raise subprocess.TimeoutExpired(argv, timeout or 0, out, err)
    if check and code:
        raise subprocess.CalledProcessError(code, argv, _told(out, text), _told(err, text))
    if text:
        # `_told` gives what `text` says, which no annotation does.
        return subprocess.CompletedProcess(argv, code, _told(out, True), _told(err, True))  # type: ignore[return-value]
    return subprocess.CompletedProcess(argv, code, out, err)


def _told(data: bytes, text: bool) -> bytes | str:
    return data.decode("utf-8", "surrogateescape") if text else data


def _with_pipes(run: Callable[[Streams], int], data: bytes | None) -> tuple[int, bytes, bytes]:
    """Call `run` with three descriptors; return its result and what was written to the second and the third."""
    from concurrent.futures import ThreadPoolExecutor

    from lamina.runtime.run import Streams

    ours: list[int] = []
    theirs: list[int] = []
    try:
        if data is None:
            theirs.append(os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC))
        else:
            _pipe(theirs, ours)
        _pipe(ours, theirs)
        _pipe(ours, theirs)
        with ThreadPoolExecutor(3, "lamina-pipe") as pool:
            feeding = pool.submit(_feed, ours.pop(0), data) if data is not None else None
            reading = [pool.submit(_drain, ours.pop(0)) for _ in range(2)]
            try:
                code = run(Streams(*theirs))
            finally:
                while theirs:
                    os.close(theirs.pop())
            if feeding is not None:
                feeding.result()
            out, err = (future.result() for future in reading)
        return code, out, err
    finally:
        for fd in (*ours, *theirs):
            os.close(fd)


def _pipe(readers: list[int], writers: list[int]) -> None:
    reader, writer = os.pipe()
    readers.append(reader)
    writers.append(writer)


def _feed(fd: int, data: bytes) -> None:
    with open(fd, "wb", buffering=0) as pipe:
        try:
            view = memoryview(data)
            while view:
                view = view[pipe.write(view) :]
        except BrokenPipeError:  # the command ended, or reads no more: its business
            pass


def _drain(fd: int) -> bytes:
    with open(fd, "rb", buffering=0) as pipe:
        return pipe.read()


class _Deadline:
    """Call `kill` when `timeout` seconds have passed in a `with` block, and again until the block ends."""

    def __init__(self, timeout: float | None, kill: Callable[[], None]) -> None:
        from threading import Event, Thread

        self.passed = False
        self._kill = kill
        self._ended = Event()
        self._timeout = timeout
        self._thread = Thread(target=self._watch, name="lamina-deadline") if timeout is not None else None

    def _watch(self) -> None:
        if self._ended.wait(self._timeout):
            return
        self.passed = True
        while True:
            self._kill()
            # The command may not have started yet, and then there was nothing to kill.
            if self._ended.wait(0.02):
                return

    def __enter__(self) -> _Deadline:
        if self._thread is not None:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
