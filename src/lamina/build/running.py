"""Running a RUN: in the same runtime as `lamina run`, over the stage's layers, with its mounts."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from lamina.build.configure import absolute
from lamina.build.dockerfile.arguments import proxy_environment
from lamina.build.dockerfile.heredoc import Script, run_form
from lamina.build.dockerfile.instructions import ExecForm, Run, ShellForm
from lamina.build.dockerfile.mounts import BindMount, CacheMount, Mount, SecretMount, SshMount, TmpfsMount
from lamina.build.keys import digest
from lamina.build.secretfiles import SecretFiles, give_file, read_secret
from lamina.build.values import BuildError, BuildOptions, State, at
from lamina.errors import NotFound
from lamina.ids.worker import Fd
from lamina.runtime.launch import launch
from lamina.runtime.plan import ImageFacts, image_base, plan, prepare
from lamina.runtime.spec import Bind, RunOptions, Tmpfs
from lamina.store.files import ensure_directory
from lamina.store.layout import Layout

if TYPE_CHECKING:
    from lamina.ids.worker import Worker

_TAIL = 20  # lines of output that are repeated where a step fails
_SSH_SOCKET = "/run/buildkit/ssh_agent.0"

#: Makes a directory with the files that a bind mount shows; returns its path.
Materialize = Callable[[BindMount | CacheMount], str]


def run_step(
    layout: Layout,
    worker: Worker,
    state: State,
    run: Run,
    *,
    mounts: tuple[Mount, ...],
    options: BuildOptions,
    directory: str,
    materialize: Materialize,
    on_line: Callable[[str], None],
) -> list[str]:
    """Run the command with `directory`/upper taking what it changes; return the names made for its mounts.

    Raises BuildError where its status is not 0, with the last lines that it said.
    """
    with (
        SecretFiles(worker) as secrets,
        _Mounts(
            layout,
            worker,
            state,
            run,
            options=options,
            directory=directory,
            materialize=materialize,
            secrets=secrets,
        ) as taken,
    ):
        for mount in mounts:
            taken.take(mount)
        asked = RunOptions(
            command=argv_of(run, state, directory, taken),
            entrypoint=[],
            env={**proxy_environment(options.args), **state.variables, **taken.environment},
            workdir=state.workdir,
            user=state.settings.user,
            mounts=taken.binds,
            network="none" if "none" in (run.network, options.network) else "host",
            add_hosts=list(options.add_hosts),
        )
        base = image_base(list(state.trees), directory, layout.ids, throw_away=True)
        what = plan(
            base,
            ImageFacts(),
            asked,
            directory=directory,
            filters=layout.path("seccomp"),
            ids=layout.ids,
            hostname="buildkitsandbox",
        )
        if note := prepare(what):
            on_line(note)
        with _Output(on_line) as output:
            try:
                status, made = _launch(worker, what.launch.plain(), output.writer, directory)
            except NotFound as error:  # the command itself, or the shell
                raise BuildError(run, str(error)) from error
    if status:
        raise BuildError(run, f"the command ended with status {status}", output=tuple(output.tail), ignored=tuple(made))
    return made


def argv_of(run: Run, state: State, directory: str, mounts: _Mounts) -> list[str]:
    """Return the words to execute: a shell form with the stage's shell, a script as a file of its own."""
    match run_form(run):
        case ExecForm(words=words):
            return list(words)
        case ShellForm(text=text):
            return [*state.shell, text]
        case Script(name=name, content=content):
            return [mounts.add_script(name, content, directory)]


def mount_parts(mounts: tuple[Mount, ...]) -> Iterator[tuple[str, str]]:
    """Yield the parts of a cache key for mounts whose content is not in it; of secrets nothing."""
    for mount in mounts:
        if isinstance(mount, CacheMount | TmpfsMount):
            yield f"mount {mount.target}", digest(repr(mount))


def cache_name(mount: CacheMount) -> str:
    """Return the name that the store has for a cache: all mounts with this id, or this target, share it."""
    return digest(f"cache {mount.id or mount.target}")


def _launch(worker: Worker, launch_plan: dict[str, object], output: int, directory: str) -> tuple[int, list[str]]:
    lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    try:
        outcome = worker.call(
            launch,
            plan=launch_plan,
            lock=Fd(lock),
            stdin=Fd(null),
            stdout=Fd(output),
            stderr=Fd(output),
            kill_on_term=True,
        )
    finally:
        os.close(null)
        os.close(lock)
    return int(str(outcome["status"])), [str(path) for path in outcome["made"]]  # type: ignore[attr-defined]  # a list


class _Output:
    """A pipe whose lines a thread hands on; `tail` are the last ones."""

    def __init__(self, on_line: Callable[[str], None]) -> None:
        self._on_line = on_line
        self.tail: deque[str] = deque(maxlen=_TAIL)
        self._reader, self.writer = os.pipe()
        self._thread = threading.Thread(target=self._read, name="lamina-build-output")

    def __enter__(self) -> _Output:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.writer)
        self._thread.join()

    def _read(self) -> None:
        with open(self._reader, "rb") as pipe:
            for line in pipe:
                text = line.decode("utf-8", "replace").rstrip("\r\n")
                self.tail.append(text)
                self._on_line(text)


class _Mounts:
    """The mounts of one RUN as the runtime takes them; a context manager that holds the locks of caches."""

    def __init__(
        self,
        layout: Layout,
        worker: Worker,
        state: State,
        run: Run,
        *,
        options: BuildOptions,
        directory: str,
        materialize: Materialize,
        secrets: SecretFiles,
    ) -> None:
        self.binds: list[Bind | Tmpfs] = []
        self.environment: dict[str, str] = {}
        self._layout = layout
        self._worker = worker
        self._state = state
        self._run = run
        self._options = options
        self._directory = directory
        self._materialize = materialize
        self._locks: list[int] = []
        self._secrets = secrets

    def __enter__(self) -> _Mounts:
        return self

    def __exit__(self, *_: object) -> None:
        for fd in self._locks:
            os.close(fd)

    def take(self, mount: Mount) -> None:
        """Add one mount."""
        match mount:
            case TmpfsMount():
                size = f"size={mount.size}" if mount.size else ""
                self.binds.append(Tmpfs(self._target(mount.target), options=size))
            case BindMount():
                # What is written to it is thrown away, so it is a copy wherever it may be written to.
                source = self._materialize(mount)
                self.binds.append(Bind(source, self._target(mount.target), read_only=mount.read_only))
            case CacheMount():
                self.binds.append(Bind(self._cache(mount), self._target(mount.target), read_only=mount.read_only))
            case SecretMount():
                self._secret(mount)
            case SshMount():
                self._ssh(mount)

    def add_script(self, name: str, script: str, directory: str) -> str:
        """Bind a script as an executable file into the container and return its path there."""
        path = os.path.join(directory, f"script-{len(self.binds)}")
        with open(path, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(script)
        os.chmod(path, 0o755)
        inside = f"/dev/pipes/{name}"
        self.binds.append(Bind(path, inside, read_only=True))
        return inside

    def _target(self, target: str) -> str:
        return absolute(target, self._state.workdir).rstrip("/") or "/"

    def _secret(self, mount: SecretMount) -> None:
        secret = self._options.secrets.get(mount.id)
        if secret is None:
            if mount.required:
                reason = f"the secret {mount.id} was not given"
                raise at(self._run, reason, f"--secret id={mount.id},src=FILE, or ,env=NAME")
            return
        if mount.env is not None:
            self.environment[mount.env] = os.fsdecode(read_secret(secret))
        if mount.target is not None:
            path = self._secrets.add(secret, mount)
            self.binds.append(Bind(path, self._target(mount.target), read_only=True))

    def _ssh(self, mount: SshMount) -> None:
        path = self._options.ssh.get(mount.id)
        target = self._target(mount.target or _SSH_SOCKET)
        if "SSH_AUTH_SOCK" not in self._state.variables:  # as BuildKit, without an agent, too
            self.environment.setdefault("SSH_AUTH_SOCK", target)
        if path is not None:
            self.binds.append(Bind(os.path.abspath(path), target))
        elif mount.required:
            raise at(self._run, f"no SSH agent {mount.id} was given", f"--ssh {mount.id}")

    def _cache(self, mount: CacheMount) -> str:
        """Return the cache's directory in the store, made and locked as the mount says."""
        name = cache_name(mount)
        top = self._layout.path("build", "cache")
        ensure_directory(top)
        path = f"{top}/{name}"
        if mount.sharing != "shared":
            fd = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._locks.append(fd)
            if not _lock(fd, wait=mount.sharing == "locked"):
                path = os.path.join(self._directory, f"cache-{len(self.binds)}")
        if not os.path.isdir(path):
            if mount.from_ is not None:
                return self._first_cache(mount, path)
            os.makedirs(path, exist_ok=True)
            mode = 0o755 if mount.mode is None else mount.mode
            self._worker.call(give_file, path=path, uid=mount.uid or 0, gid=mount.gid or 0, mode=mode)
        return path

    def _first_cache(self, mount: CacheMount, path: str) -> str:
        try:
            os.rename(self._materialize(mount), path)
        except OSError:  # another build was faster
            if not os.path.isdir(path):
                raise
        return path


def _lock(fd: int, *, wait: bool) -> bool:
    import fcntl

    try:
        fcntl.flock(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True
