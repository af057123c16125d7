"""Gathering the inputs of a build: whatever was named becomes a tree of this machine that a union can read.

A directory is read where it lies. An archive is kept as a plain tar and read without being unpacked, a repository is
checked out, what is on the web downloaded: each once a build, when it is first asked for, and gone at its end.
"""

from __future__ import annotations

import io
import os
import shutil
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, BinaryIO, TypeVar

from lamina.build.context import (
    Context,
    Input,
    check_directory,
    context_of,
    default_dockerfile,
    open_directory,
    read_stream,
)
from lamina.build.inputs.names import GitRemote, is_web, parse_git, with_fragment, without_secrets
from lamina.build.keys import Part
from lamina.build.progress import Progress, Step
from lamina.build.values import Tree
from lamina.errors import InvalidInput, NotFound
from lamina.overlay.union.union import Union
from lamina.store.staging import Staging

if TYPE_CHECKING:
    from lamina.build.inputs.git import Git
    from lamina.build.inputs.web import Checksum, Web

_Made = TypeVar("_Made")
_HOST_OWNER = "0:0"  # of what comes from a directory or a repository: who owns it there means nothing inside


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What inputs are fetched with: `environ` (proxies, ssh), files of `secrets` by id, and `keep_git_dir` for contexts
    that are repositories."""

    environ: Mapping[str, str]
    secrets: Mapping[str, str | bytes]
    keep_git_dir: bool = False


class Inputs:
    """The inputs of one build, for any number of threads. A context manager; what was fetched goes with its end."""

    def __init__(self, staging: Staging, progress: Progress, surroundings: Surroundings) -> None:
        self._staging = staging
        self._progress = progress
        self._surroundings = surroundings
        self._fetcher: Web | None = None
        self._directories: list[str] = []
        self._made: dict[tuple[object, ...], object] = {}
        self._locks: dict[tuple[object, ...], threading.Lock] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> Inputs:
        return self

    def __exit__(self, *_: object) -> None:
        if self._fetcher is not None:
            self._fetcher.__exit__()
        for directory in self._directories:
            shutil.rmtree(directory, ignore_errors=True)

    # Contexts

    def open(self, context: str | BinaryIO, dockerfile: str | BinaryIO | None) -> Input:
        """Return what a build starts from.

        `context` is a directory, a tar archive's path, a repository, an address, or a stream with an archive or with a
        Dockerfile; `dockerfile` a path (within a context that is no directory), or a stream.
        """
        if not isinstance(context, str):
            return self._from_stream(context, dockerfile)
        remote = parse_git(context) or _local_repository(context)
        if remote is not None:
            return self._inside(self._check_out_context(remote), dockerfile, remote.shown)
        if is_web(context):
            return self._from_web(context, dockerfile)
        if not os.path.isdir(context) and os.path.lexists(context):
            with open(context, "rb") as file:
                kept = self._keep(file, context)
            if isinstance(kept, bytes):
                hint = f"-f {context} names a Dockerfile; the context is a directory"
                raise InvalidInput("build from", context, "it is neither a directory nor a tar archive", hint)
            return self._inside(kept, dockerfile, context)
        if dockerfile is None or isinstance(dockerfile, str):
            return open_directory(context, dockerfile)
        check_directory(context)
        return Input(read_stream(dockerfile), _name_of(dockerfile), context_of(context))

    def named(self, name: str, text: str) -> Tree:
        """Return the tree of the named context `name`, which `text` describes."""
        return self._once(("named", name), lambda: self._named(name, text))

    def _named(self, name: str, text: str) -> Tree:
        remote = parse_git(text) or _local_repository(text)
        if remote is not None:
            return Tree([self._check_out_context(remote)], owner=_HOST_OWNER)
        if is_web(text):
            with self._progress.step(f"[context {name}] load {without_secrets(text)}") as step:
                path, _ = self._web.fetch(text, None, step)
            text = path
        if os.path.isdir(text):
            context = context_of(text)
            return Tree([context.root], context.ignore, owner=_HOST_OWNER)
        if not os.path.lexists(text):
            hint = "a directory, a tar archive, docker-image://NAME, oci-layout://DIR, or an address"
            raise NotFound("take files from", f"{name}={text}", "no such directory or archive", hint)
        with open(text, "rb") as file:
            kept = self._keep(file, text)
        if isinstance(kept, bytes):
            raise InvalidInput("take files from", f"{name}={text}", "it is neither a directory nor a tar archive")
        return Tree([kept])

    def _from_stream(self, stream: BinaryIO, dockerfile: str | BinaryIO | None) -> Input:
        if dockerfile is stream:
            raise InvalidInput("build from", "-", "standard input cannot be both the context and the Dockerfile")
        name = _name_of(stream)
        kept = self._keep(stream, name)
        return self._alone(kept, name, dockerfile) if isinstance(kept, bytes) else self._inside(kept, dockerfile, name)

    def _from_web(self, url: str, dockerfile: str | BinaryIO | None) -> Input:
        shown = without_secrets(url)
        with self._progress.step(f"[context] load {shown}") as step:
            path, _ = self._web.fetch(url, None, step)
            with open(path, "rb") as file:
                kept = self._keep(file, shown)
        return (
            self._alone(kept, shown, dockerfile) if isinstance(kept, bytes) else self._inside(kept, dockerfile, shown)
        )

    def _alone(self, data: bytes, name: str, dockerfile: str | BinaryIO | None) -> Input:
        """Return the input of a Dockerfile without a context."""
        if dockerfile is not None:
            raise InvalidInput("build from", name, "it is a Dockerfile, and -f names another")
        if b"\0" in data:
            raise InvalidInput("build from", name, "it is neither a tar archive nor a Dockerfile")
        return Input(read_stream(io.BytesIO(data)), name, Context(self._new_directory()))

    def _inside(self, root: str, dockerfile: str | BinaryIO | None, what: str) -> Input:
        """Return the input for a context that was fetched: its Dockerfile lies in it, and links stay in it."""
        context = Context(root)
        if dockerfile is not None and not isinstance(dockerfile, str):
            return Input(read_stream(dockerfile), _name_of(dockerfile), context)
        with Union([root]) as tree:
            name = dockerfile or default_dockerfile(lambda name: tree.exists(f"/{name}"))
            path = os.path.normpath(f"/{name}")
            if not tree.is_file(path):
                raise NotFound("read the Dockerfile", f"{name} of {what}", "no such file", "name another with -f")
            with tree.open(path, "rb") as file:
                return Input(read_stream(file, f"{name} of {what}"), name, context)

    # Sources of ADD

    def parts(self, source: str, checksum: Checksum | None, commit: str, *, step: Step) -> list[Part]:
        """Return what a source from outside adds to a cache key: the commit, or the content's digest."""
        remote = parse_git(source)
        if remote is None:
            known = self._once(("known", source), lambda: self._web.identify(source, checksum, step))
            return [(f"contents of {without_secrets(source)}", known.digest)]
        return [(f"commit of {remote.shown}", self._resolve(replace(remote, commit=commit or remote.commit), step))]

    def file(self, source: str, checksum: Checksum | None, *, step: Step) -> tuple[Tree, str]:
        """Return a tree with a downloaded file, and the file's name in it."""

        def make() -> tuple[Tree, str]:
            path, known = self._web.fetch(source, checksum, step)
            directory = self._new_directory()
            os.link(path, os.path.join(directory, known.name))
            return Tree([directory], owner=_HOST_OWNER), known.name

        return self._once(("file", source), make)

    def check_out(self, source: str, commit: str, *, keep_git_dir: bool | None, step: Step) -> Tree:
        """Return the tree of a repository."""
        remote = parse_git(source)
        assert remote is not None
        remote = replace(remote, commit=commit or remote.commit)
        keep = bool(remote.keep_git_dir if keep_git_dir is None else keep_git_dir)
        return Tree([self._checked_out(remote, keep, step)], owner=_HOST_OWNER)

    # Repositories

    def _check_out_context(self, remote: GitRemote) -> str:
        keep = self._surroundings.keep_git_dir if remote.keep_git_dir is None else remote.keep_git_dir
        ref = f"#{remote.ref}" if remote.ref else ""
        with self._progress.step(f"[context] load {remote.shown}{ref}") as step:
            return self._checked_out(remote, keep, step)

    def _checked_out(self, remote: GitRemote, keep: bool, step: Step) -> str:
        def make() -> str:
            commit = self._resolve(remote, step)
            return self._git(step).check_out(remote, commit, self._new_directory(), keep_git_dir=keep)

        return self._once((remote, keep), make)

    def _resolve(self, remote: GitRemote, step: Step) -> str:
        return self._once((remote,), lambda: self._git(step).resolve(remote))

    def _git(self, step: Step) -> Git:
        from lamina.build.inputs.git import Git

        return Git(self._surroundings.environ, self._surroundings.secrets, step.output)

    # What all of them share

    @property
    def _web(self) -> Web:
        """What fetches, made when something is to be fetched: it loads all that speaks HTTP."""
        with self._lock:
            if self._fetcher is None:
                from lamina.build.inputs.web import Web

                self._fetcher = Web(self._staging, self._surroundings.environ)
            return self._fetcher

    def _keep(self, stream: BinaryIO, what: str) -> str | bytes:
        """Keep an archive and return its path, or the bytes of what is none."""
        from lamina.build.inputs.archive import keep_archive

        path = self._staging.new_path()
        try:
            fd = stream.fileno()
        except (AttributeError, io.UnsupportedOperation):
            spooled = self._staging.new_path()
            with open(spooled, "w+b") as file:
                shutil.copyfileobj(stream, file)
                file.seek(0)
                data = keep_archive(file.fileno(), path, what)
        else:
            data = keep_archive(fd, path, what)
        return path if data is None else data

    def _new_directory(self) -> str:
        directory = self._staging.new_path()
        os.mkdir(directory, 0o755)
        self._directories.append(directory)
        return directory

    def _once(self, key: tuple[object, ...], make: Callable[[], _Made]) -> _Made:
        """Return what `make` makes, made by the first thread that asks for `key`."""
        with self._lock:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            if key not in self._made:
                self._made[key] = make()
            return self._made[key]  # type: ignore[return-value]  # the same key has the same kind


def _name_of(stream: BinaryIO) -> str:
    """Return what errors call a stream: the name of its file, or "-"."""
    name = getattr(stream, "name", None)
    return os.path.basename(name) if isinstance(name, str) and not name.startswith("<") else "-"


def _local_repository(text: str) -> GitRemote | None:
    """Return the repository that a path means: a bare one, or one of which `#REF:SUBDIR` names a part."""
    path, mark, fragment = text.partition("#")
    if "://" in text or not os.path.isdir(path) or os.path.exists(text) is bool(mark):
        return None
    bare = all(os.path.exists(os.path.join(path, name)) for name in ("HEAD", "objects", "refs"))
    if not (bare or (mark and os.path.exists(os.path.join(path, ".git")))):
        return None
    return with_fragment(GitRemote(f"file://{os.path.realpath(path)}"), fragment)
