"""Run a command in a container of a store: plan, prepare, launch, and note how it ended."""

from __future__ import annotations

import os
import time

from lamina.errors import Conflict
from lamina.ids.worker import Fd
from lamina.runtime.launch import Outcome, launch
from lamina.runtime.plan import Base, ImageFacts, Plan, image_base, plan, prepare
from lamina.store.containers import (
    ContainerRecord,
    ContainerState,
    add_ignored,
    read_state,
    write_state,
    write_uppers,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lamina.ids.worker import Worker
    from lamina.overlay.drivers import Driver
    from lamina.runtime.spec import RunOptions
    from lamina.store.images import ImageRecord
    from lamina.store.layout import Layout


class Streams:
    """The descriptors that a command gets as standard input, output and error. They stay the caller's."""

    __slots__ = ("stderr", "stdin", "stdout")

    def __init__(self, stdin: int = 0, stdout: int = 1, stderr: int = 2) -> None:
        self.stdin = stdin
        self.stdout = stdout
        self.stderr = stderr


def run_container(
    layout: Layout,
    worker: Worker,
    record: ContainerRecord,
    image: ImageRecord,
    options: RunOptions,
    *,
    streams: Streams,
    lock: int,
    throw_away: bool,
    term: str = "",
    kill_on_term: bool = False,
) -> Outcome:
    """Run the command of `options` in the container and wait for its end.

    `lock` is the container's, held by the caller (`hold_container`). With `throw_away` the upper is not written to disk
    for keeping, and nobody may mount it again. Raises what `plan` and `launch` raise; how it ended is noted in the
    container's state even then.
    """
    what = plan_container(layout, record, image, options, throw_away=throw_away, term=term)
    note = prepare(what)
    durable = not throw_away
    state = read_state(layout, record.id)
    state = ContainerState(started=time.time_ns(), command=what.launch.argv, driver=state.driver)
    write_state(layout, record.id, state, durable=durable)
    status = None
    try:
        outcome = _launch(worker, what, streams, lock, kill_on_term=kill_on_term)
        status = outcome.status
        if note:
            outcome.notes.append(note)
        state.driver = outcome.driver
        add_ignored(layout, record.id, outcome.made)
    except Exception as error:
        status = getattr(error, "status", 125)
        raise
    finally:
        state.finished, state.exit_code = time.time_ns(), status
        write_state(layout, record.id, state, durable=durable)
    return outcome


def _launch(worker: Worker, what: Plan, streams: Streams, lock: int, *, kill_on_term: bool) -> Outcome:
    result = worker.call(
        launch,
        plan=what.launch.plain(),
        lock=Fd(lock),
        stdin=Fd(streams.stdin),
        stdout=Fd(streams.stdout),
        stderr=Fd(streams.stderr),
        kill_on_term=kill_on_term,
    )
    return Outcome(**result)  # type: ignore[arg-type]  # plain data, as `Outcome.plain` gives it


def plan_container(
    layout: Layout,
    record: ContainerRecord,
    image: ImageRecord,
    options: RunOptions,
    *,
    throw_away: bool,
    term: str = "",
) -> Plan:
    """Return the plan for a command in the container. For one over the host, note where its uppers lie."""
    directory = record.directory(layout)
    driver = _driver_of(layout, record, options) if record.host else options.driver
    base, uppers = base_of(layout, image, directory, throw_away=throw_away, driver=driver)
    if record.host:
        write_uppers(layout, record.id, uppers)
    hostname = record.id[:12]
    return plan(
        base,
        facts_of(image),
        options,
        directory=directory,
        filters=layout.path("seccomp"),
        ids=layout.ids,
        hostname=hostname,
        term=term,
    )


def _driver_of(layout: Layout, record: ContainerRecord, options: RunOptions) -> Driver:
    """Return the driver for a container over the host: the one of its runs before, whose uppers lie as it needs them.

    Conflict where another one is asked for.
    """
    before = read_state(layout, record.id).driver
    if not before:
        return options.driver
    if options.driver not in ("auto", before):
        reason = f"its changes lie as the {before} driver keeps them"
        raise Conflict(f"use the {options.driver} driver for", record.name, reason, "another container can use it")
    return "fuse" if before == "fuse" else "kernel"


def base_of(
    layout: Layout, image: ImageRecord, directory: str, *, throw_away: bool, driver: Driver = "auto"
) -> tuple[Base, list[tuple[str, str]]]:
    """Return what stands at the bottom of a container's tree, and its uppers as (place, name in `directory`)."""
    trees = image.trees(layout)
    if not image.host:
        return image_base(trees, directory, layout.ids, throw_away=throw_away, driver=driver), [("", "upper")]
    from lamina.linux.mountinfo import mount_points
    from lamina.runtime.host import host_base, host_driver, host_union

    if host_driver(driver, layout.ids) == "fuse":
        union = host_union(trees, directory, layout.ids, hidden=layout.root, throw_away=throw_away)
        return union.base, union.uppers
    over = host_base(mount_points(), trees, directory, layout.ids, hidden=layout.root, throw_away=throw_away)
    return over.base, over.uppers


def explain_run(layout: Layout, image: ImageRecord, options: RunOptions, *, keep: bool) -> str:
    """Return the shell script that does what a run over the image would do, in a directory of its own below /tmp.

    With `keep` the script leaves what the command wrote.
    """
    from lamina.runtime.explain import explain

    name = os.urandom(6).hex()
    directory = f"/tmp/lamina-{name}"
    # A script has no server to leave behind: over the host it shows the kernel's way.
    base, _ = base_of(layout, image, directory, throw_away=not keep, driver="kernel" if image.host else "auto")
    what = plan(
        base,
        facts_of(image),
        options,
        directory=directory,
        filters=layout.path("seccomp"),
        ids=layout.ids,
        hostname=name,
    )
    remark = ""
    if image.host and layout.ids.kind != "host" and options.driver != "kernel":
        remark = "where /dev/fuse can be opened, its own union shows the host, so that every file can be written"
    return explain(what, layout.ids, keep=keep, remark=remark)


def facts_of(image: ImageRecord) -> ImageFacts:
    """Return an image's defaults for the process; over the host, the command is a shell where nothing else is said."""
    return ImageFacts(
        command=image.cmd or (["sh"] if image.host and not image.entrypoint else []),
        entrypoint=image.entrypoint,
        env=dict(_pair(line) for line in image.env),
        user=image.user,
        workdir=image.workdir,
    )


def _pair(line: str) -> tuple[str, str]:
    name, _, value = line.partition("=")
    return name, value
