"""Carrying out an operation: it fills the upper of a directory of its own, over the layers of the stage so far."""

from __future__ import annotations

import os
import posixpath
from typing import TYPE_CHECKING, Protocol

from lamina.build import files
from lamina.build.dockerfile.instructions import Add
from lamina.build.dockerfile.mounts import BindMount, CacheMount
from lamina.build.ops import CopyOp, Operation, RunOp, Take, WorkdirOp, take_of
from lamina.build.progress import Step
from lamina.build.running import run_step
from lamina.build.values import BuildOptions, State, Tree
from lamina.overlay.format import USER
from lamina.runtime.plan import make_like
from lamina.store import making

if TYPE_CHECKING:
    from lamina.ids.worker import Helper
    from lamina.store.layout import Layout


class Site(Protocol):
    """What carrying out needs of the stage that an operation belongs to."""

    layout: Layout
    worker: Helper
    options: BuildOptions
    progress: Step

    def tree_of(self, take: Take) -> Tree: ...


def carry_out(site: Site, operation: Operation, state: State, directory: str) -> list[str]:
    """Fill `directory`/upper; return the names in it that were made for mounts only.

    Raises BuildError where a command fails, and what copying raises.
    """
    match operation:
        case RunOp():
            return _Carrier(site, state, directory).run(operation)
        case CopyOp():
            _Carrier(site, state, directory).copy(operation)
        case WorkdirOp():
            _Carrier(site, state, directory).make_directory(operation)
    return []


class _Carrier:
    """One operation under way in `directory`."""

    def __init__(self, site: Site, state: State, directory: str) -> None:
        self._site = site
        self._state = state
        self._directory = directory
        self._call = site.worker.call
        self._trees = list(state.trees)

    def run(self, operation: RunOp) -> list[str]:
        site = self._site
        return run_step(
            site.layout,
            site.worker,
            self._state,
            operation.step,
            mounts=operation.mounts,
            options=site.options,
            directory=self._directory,
            materialize=self._materialize,
            on_line=site.progress.output,
        )

    def copy(self, operation: CopyOp) -> None:
        self._make_upper()
        owner = self._owner(operation.owner)
        if operation.take.sources:
            self._copy_taken(operation, owner)
        if operation.documents:
            tree = Tree([self._documents(operation)])
            names = tuple(document.name for document in operation.documents)
            self._copy(tree, Take(None, names), operation.destination, owner=owner or [0, 0], mode=operation.mode)

    def make_directory(self, operation: WorkdirOp) -> None:
        self._make_upper()
        self._call(
            files.make_directory,
            below=self._below(),
            upper=self._path("upper"),
            path=operation.path,
            owner=[0, 0],
            created=self._site.options.created,
            userxattr=self._userxattr,
            single_id=self._site.layout.single_id,
        )

    def _copy_taken(self, operation: CopyOp, owner: list[int]) -> None:
        tree = self._site.tree_of(operation.take)
        sources = list(operation.take.sources)
        archives = self._archives(operation, tree, sources)
        for archive in archives:
            unpacked = Tree([self._unpack(tree, archive)])
            self._copy(unpacked, Take(None, (".",)), operation.destination.rstrip("/") or "/", owner=[], mode="")
        plain = tuple(source for source in sources if source not in archives)
        if plain:
            take = Take(None, plain, operation.take.exclude, operation.take.parents)
            self._copy(tree, take, operation.destination, owner=owner, mode=operation.mode)

    def _archives(self, operation: CopyOp, tree: Tree, sources: list[str]) -> list[str]:
        """Return those sources that ADD unpacks: local archives, unless --unpack says otherwise."""
        if not isinstance(operation.step, Add) or operation.step.unpack is False:
            return []
        return self._call(files.which_are_archives, layers=tree.layers, sources=sources)

    def _unpack(self, tree: Tree, source: str) -> str:
        """Unpack an archive into a directory of its own and return its tree."""
        unpacked = self._new_directory("unpacked")
        self._call(
            files.unpack_archive,
            layers=tree.layers,
            source=source,
            staging=unpacked,
            space=making.space_of(self._site.layout),
            single_id=self._site.layout.single_id,
        )
        return os.path.join(unpacked, "tree")

    def _copy(self, tree: Tree, take: Take, destination: str, *, owner: list[int], mode: str) -> None:
        self._copy_to(tree, take, self._below(), self._path("upper"), destination, owner=owner, mode=mode)

    def _copy_to(
        self, tree: Tree, take: Take, below: list[str], upper: str, destination: str, *, owner: list[int], mode: str
    ) -> None:
        site = self._site
        self._call(
            files.copy_sources,
            layers=tree.layers,
            ignore=tree.ignore,
            sources=list(take.sources),
            exclude=list(take.exclude),
            parents=take.parents,
            below=below,
            upper=upper,
            destination=destination,
            owner=owner,
            mode=mode,
            created=site.options.created,
            userxattr=self._userxattr,
            single_id=site.layout.single_id,
        )

    def _materialize(self, mount: BindMount | CacheMount) -> str:
        """Return a directory, or file, with what a mount shows: a copy, which may be written to."""
        tree = self._site.tree_of(take_of(mount))
        source = posixpath.normpath("/" + (mount.source or "."))
        top = self._new_directory("mount")
        single = len(tree.layers) == 1 and os.path.isfile(tree.layers[0] + source)
        destination = "/" + os.path.basename(source) if single else "/"
        take = Take(None, (source.lstrip("/") or ".",))
        self._copy_to(tree, take, [self._empty()], top, destination, owner=[], mode="")
        return os.path.join(top, os.path.basename(source)) if single else top

    def _documents(self, operation: CopyOp) -> str:
        path = self._path("documents")
        documents = [[document.name, document.text] for document in operation.documents]
        self._call(files.write_documents, directory=path, documents=documents, mode="0644")
        return path

    def _owner(self, text: str) -> list[int]:
        names = text.split(":")
        if not text or all(name.isdecimal() for name in names):
            return [int(names[0]), int(names[-1])] if text else []
        return self._call(files.find_owner, layers=self._below(), owner=text)

    def _make_upper(self) -> None:
        """Make the upper, which looks like the root below it until something in it changes."""
        upper = self._path("upper")
        os.mkdir(upper, 0o755)
        if self._trees:
            make_like(upper, self._trees[-1])
        else:
            created = self._site.options.created
            os.utime(upper, ns=(created, created))

    def _below(self) -> list[str]:
        return self._trees or [self._empty()]

    def _empty(self) -> str:
        path = self._path("empty")
        os.makedirs(path, exist_ok=True)
        return path

    def _new_directory(self, kind: str) -> str:
        path = self._path(f"{kind}-{len(os.listdir(self._directory))}")
        os.mkdir(path, 0o755)
        return path

    def _path(self, name: str) -> str:
        return os.path.join(self._directory, name)

    @property
    def _userxattr(self) -> bool:
        return making.space_of(self._site.layout) == USER
