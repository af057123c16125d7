"""Carrying out an operation: it fills the upper of a directory of its own, over the layers of the stage so far."""

from __future__ import annotations

import os
import posixpath
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from lamina.build import files
from lamina.build.dockerfile.instructions import Add
from lamina.build.dockerfile.mounts import BindMount, CacheMount
from lamina.build.inputs.adding import remote_trees
from lamina.build.inputs.gather import Inputs
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
    inputs: Inputs
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
        if operation.take.sources:
            self._copy_taken(operation)
        for tree, source in remote_trees(self._site.inputs, operation, self._site.progress):
            self._copy_remote(operation, tree, source)
        if operation.documents:
            tree = Tree([self._documents(operation)], owner="0:0")
            self._copy(operation, tree, Take(None, tuple(document.name for document in operation.documents)))

    def make_directory(self, operation: WorkdirOp) -> None:
        self._make_upper()
        self._call(
            files.make_directory,
            below=self._below(),
            upper=self._path("upper"),
            path=operation.path,
            owner=self._owner(operation.owner or "0:0"),
            created=self._site.options.created,
            userxattr=self._userxattr,
            single_id=self._site.layout.single_id,
        )

    def _copy_taken(self, operation: CopyOp) -> None:
        tree = self._site.tree_of(operation.take)
        sources = list(operation.take.sources)
        if isinstance(operation.step, Add):
            sources = self._call(files.expand_sources, layers=tree.layers, ignore=tree.ignore, sources=sources)
        archives = self._archives(operation, tree, sources)
        for archive in archives:
            self._copy_archive(operation, tree, archive)
        plain = tuple(source for source in sources if source not in archives)
        if tree.rows is not None and archives:
            paths = set(map(_path_of, archives))
            tree = replace(tree, rows=[row for row in tree.rows if row[0] not in paths])
        if plain:
            take = Take(None, plain, operation.take.exclude, operation.take.parents)
            self._copy(operation, tree, take)

    def _copy_remote(self, operation: CopyOp, tree: Tree, source: str) -> None:
        add = operation.step
        archives = [source] if source != "." and isinstance(add, Add) and add.unpack else []
        if archives and self._call(files.which_are_archives, layers=tree.layers, sources=archives):
            self._copy_archive(operation, tree, source)
        else:
            self._copy(operation, tree, Take(None, (source,), operation.take.exclude))

    def _copy_archive(self, operation: CopyOp, tree: Tree, archive: str) -> None:
        """Copy what is in an archive, which keeps its modes, and its owners unless there is a --chown."""
        self._copy_to(
            Tree([self._unpack(tree, archive)]),
            Take(None, (".",)),
            self._below(),
            self._path("upper"),
            operation.destination.rstrip("/") or "/",
            owner=self._owner(operation.owner),
            mode="",
        )

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
            row=next((row for row in tree.rows or () if row[0] == _path_of(source)), None),
        )
        return os.path.join(unpacked, "tree")

    def _copy(self, operation: CopyOp, tree: Tree, take: Take) -> None:
        """Copy what `take` says of a tree to where the operation wants it, and as its flags say."""
        owner = self._owner(operation.owner or tree.owner)
        upper = self._path("upper")
        self._copy_to(tree, take, self._below(), upper, operation.destination, owner=owner, mode=operation.mode)

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
            rows=tree.rows,
        )

    def _materialize(self, mount: BindMount | CacheMount) -> str:
        """Return a directory, or file, with what a mount shows: a copy, which may be written to."""
        tree = self._site.tree_of(take_of(mount))
        source = posixpath.normpath("/" + (mount.source or "."))
        top = self._new_directory("mount")
        single = self._call(files.is_file, layers=tree.layers, path=source)
        destination = "/" + os.path.basename(source) if single else "/"
        take = Take(None, (source.lstrip("/") or ".",))
        self._copy_to(tree, take, [self._empty()], top, destination, owner=self._owner(tree.owner), mode="")
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


def _path_of(source: str) -> str:
    return posixpath.normpath("/" + source)
