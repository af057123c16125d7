"""Bootstrap: a base image from the packages of a Debian (or derived) release, made by mmdebstrap or debootstrap.

What is wanted and the commands for it are values (`recipe`); here they are run, and what they make is taken in. Nobody
is asked for anything: packages come from where this machine's apt has them from, with its keys and its proxy.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from tempfile import mkdtemp
from typing import TYPE_CHECKING

from lamina.errors import LaminaError, Unsupported
from lamina.events import Event, OnEvent
from lamina.ids.map import why_single
from lamina.ids.subid import find_program
from lamina.ids.worker import Fd
from lamina.layer import jobs
from lamina.store import making
from lamina.store.images import ImageRecord
from lamina.store.layers import LayerRecord
from lamina.store.layout import Layout
from lamina.store.staging import Staging
from lamina.transfer.aptconf import apt_settings
from lamina.transfer.inside import command as inside
from lamina.transfer.recipe import Recipe, make_recipe, plan_debootstrap, plan_mmdebstrap
from lamina.transfer.rootfs import checked, publish_base
from lamina.transfer.sources import Source, choose_sources, read_sources

if TYPE_CHECKING:
    from lamina.ids.worker import Worker

_PATIENCE = 20.0  # seconds for the program to remove what it has made when it is told to end
_INSTALL = "apt-get install mmdebstrap"

# What of a program's many lines a person wants to see.
_TOLD = ("I: ", "Get:", "Unpacking ", "Setting up ", "Processing ", "W: ", "E: ")


def bootstrap(
    layout: Layout,
    worker: Worker,
    suite: str,
    name: str | None,
    *,
    mirror: str | None,
    include: Iterable[str],
    variant: str,
    changes: Iterable[str],
    created: int,
    environ: Mapping[str, str],
    on_event: OnEvent,
) -> ImageRecord:
    """Make a base image of the release `suite`; `Store.bootstrap` says what the arguments mean."""
    reference, settings = checked(name, changes)
    program = _program(layout)
    recipe = make_recipe(suite, variant=variant, include=include, mirror=mirror, sources=_sources(suite, mirror))
    with Staging(layout) as staging:
        run = _Bootstrap(staging, worker, recipe, environ, on_event)
        layer = run.mmdebstrap() if program == "mmdebstrap" else run.debootstrap()
        created_by = " ".join(["lamina bootstrap", f"--variant={variant}", *recipe.include, suite])
        image = publish_base(
            staging,
            layer,
            reference,
            settings,
            created=created,
            created_by=created_by,
            comment="\n".join(recipe.sources),
        )
    on_event(Event("bootstrap", suite, finished=True))
    return image


def _program(layout: Layout) -> str:
    if find_program("mmdebstrap"):
        return "mmdebstrap"
    if find_program("debootstrap"):
        if layout.ids.kind == "host":
            return "debootstrap"
        raise Unsupported("bootstrap with", "debootstrap", "only root can; mmdebstrap works for every user", _INSTALL)
    raise Unsupported("bootstrap", "", "neither mmdebstrap nor debootstrap is installed", _INSTALL)


def _sources(suite: str, mirror: str | None) -> list[Source]:
    if mirror is not None:
        return []
    chosen = choose_sources(read_sources("/etc/apt"), suite, _own_suite())
    if not chosen:
        raise Unsupported(
            "find", f"packages of {suite}", "this machine's apt has no source of them", "--mirror ADDRESS"
        )
    return chosen


def _own_suite() -> str:
    try:
        with open("/etc/os-release", encoding="utf-8") as file:
            lines = file.read().splitlines()
    except OSError:
        return ""
    return next((line.partition("=")[2].strip("\"'") for line in lines if line.startswith("VERSION_CODENAME=")), "")


class _Bootstrap:
    """One run of one of the programs."""

    def __init__(
        self, staging: Staging, worker: Worker, recipe: Recipe, environ: Mapping[str, str], on_event: OnEvent
    ) -> None:
        self._staging = staging
        self._worker = worker
        self._recipe = recipe
        self._environ = environ
        self._on_event = on_event
        self._said: list[str] = []  # complaints, and the last line

    def mmdebstrap(self) -> LayerRecord:
        """Apply the archive that mmdebstrap writes."""
        ids = self._staging.layout.ids
        mode = {"host": "root", "range": "unshare", "single": "single"}[ids.kind]
        with self._scratch() as scratch:
            settings = self._write_settings(scratch, single=mode == "single")
            argv = plan_mmdebstrap(self._recipe, mode=mode, settings=settings)
            if mode == "single":
                self._tell(f"one id is all there is: all files will be root's; {why_single(ids.uid)}")
                argv = inside(ids, argv)
            elif mode == "root":
                # It mounts, and this is the machine's own mount namespace.
                # Its processes are in a namespace that ends with it, so that none writes on while we clean up.
                own = ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--"]
                argv = [*own, *argv]
            with self._running(argv, subprocess.PIPE, TMPDIR=scratch) as process:
                return self._take(process)

    def debootstrap(self) -> LayerRecord:
        """Apply the directory that debootstrap makes. Root only."""
        target = self._staging.new_path()
        os.mkdir(target, 0o755)
        try:
            with self._running(plan_debootstrap(self._recipe, target=target), subprocess.STDOUT) as process:
                assert process.stdout is not None
                for line in process.stdout:
                    self._hear(line)
                self._check(process.wait())
            self._finish(target)
            return making.apply_directory(self._staging, self._worker, target, on_event=self._on_event)
        finally:
            self._worker.call(jobs.remove_tree, path=target)

    def _finish(self, target: str) -> None:
        with open(f"{target}/etc/apt/sources.list", "w", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in self._recipe.sources)
        for place in ("var/cache/apt", "var/lib/apt/lists"):
            self._worker.call(jobs.remove_tree, path=f"{target}/{place}")
            os.mkdir(f"{target}/{place}", 0o755)
        for name in ("etc/hostname", "etc/resolv.conf"):
            self._worker.call(jobs.remove_tree, path=f"{target}/{name}")

    @contextmanager
    def _scratch(self) -> Iterator[str]:
        """Make a directory for the program's temporary files, and remove it with all that an interrupted one leaves."""
        directory = mkdtemp(prefix="lamina-")
        try:
            os.chmod(directory, 0o1777)  # mmdebstrap has ids of its own choice in its namespace
            yield directory
        finally:
            self._worker.call(jobs.remove_tree, path=directory)

    def _write_settings(self, scratch: str, *, single: bool) -> str:
        path = f"{scratch}/apt.conf"
        with open(path, "w", encoding="utf-8") as file:
            file.write(apt_settings() + ('APT::Sandbox::User "root";\n' if single else ""))
            os.fchmod(file.fileno(), 0o644)
        return path

    @contextmanager
    def _running(self, argv: list[str], stderr: int, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
        """Start a program with `variables` in its environment, and see to it that it has ended after the block."""
        env = {**self._environ, "LC_ALL": "C", **variables}
        # In a process group of its own: mmdebstrap, when it is told to end, signals all of its group, so us too.
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr, env=env, process_group=0
        )
        with process:
            try:
                yield process
            except BaseException:
                _end(process)
                raise

    def _take(self, process: subprocess.Popen[bytes]) -> LayerRecord:
        assert process.stdout is not None and process.stderr is not None
        # The archive comes when all is installed; until then there are lines to hear. One thread does both in turn:
        # a worker that is this very process may enter its user namespace only while there is no second thread.
        self._hear_until_readable(process)
        try:
            layer = making.apply(self._staging, self._worker, Fd(process.stdout.fileno()), (), on_event=self._on_event)
        except LaminaError:
            # A program that failed leaves an archive that is none; what it says is the reason.
            for line in process.stderr:
                self._hear(line)
            self._check(process.wait())
            raise
        for line in process.stderr:
            self._hear(line)
        self._check(process.wait())
        return layer

    def _hear_until_readable(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None and process.stderr is not None
        pending = b""
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            selector.register(process.stderr, selectors.EVENT_READ)
            while True:
                ready = {key.fileobj for key, _ in selector.select()}
                if process.stderr in ready:
                    part = os.read(process.stderr.fileno(), 65536)
                    *lines, pending = (pending + part).split(b"\n")
                    for line in lines:
                        self._hear(line)
                    if not part:
                        selector.unregister(process.stderr)
                elif process.stdout in ready:
                    self._hear(pending)
                    return

    def _hear(self, line: bytes) -> None:
        text = line.decode("utf-8", "replace").strip()
        if not text:
            return
        self._said = [said for said in self._said if said.startswith("E: ")] + [text]
        if text.startswith(_TOLD):
            self._tell(text)

    def _tell(self, text: str) -> None:
        self._on_event(Event("bootstrap", self._recipe.suite, text=text))

    def _check(self, status: int) -> None:
        if status == 0:
            return
        # The first complaint is the cause, those after it are consequences.
        reason = self._said[0].removeprefix("E: ") if self._said else f"the program ended with status {status}"
        raise LaminaError("bootstrap", self._recipe.suite, reason)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a program with all that it started; returns when nobody holds its standard output any more."""
    process.terminate()
    try:
        process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        pass
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    assert process.stdout is not None
    while process.stdout.read(1 << 16):
        pass
