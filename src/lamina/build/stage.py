"""Building one stage: its instructions in order, each from the cache or carried out.

A step that changes files gets a key; where the store knows what it made, that is taken. What it makes is the upper of
its own directory, captured as a layer; one that changes no file makes none.
"""

from __future__ import annotations

import os
import posixpath
import shlex
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from lamina.build import files
from lamina.build.configure import absolute, configure, take_triggers, with_history
from lamina.build.context import Context
from lamina.build.dockerfile.expand import Expander
from lamina.build.dockerfile.instructions import Add, Copy, ExecForm, HereDocument, Instruction, Run, Stage, Workdir
from lamina.build.dockerfile.mounts import BindMount, CacheMount, Mount
from lamina.build.dockerfile.parse import parse_trigger
from lamina.build.dockerfile.source import Word
from lamina.build.keys import BELOW, Key, differences, digest, identity, variables
from lamina.build.running import arguments_prefix, mount_parts, run_step
from lamina.build.values import BuildOptions, State, at
from lamina.errors import InvalidInput
from lamina.events import Event, ignore
from lamina.layer import jobs
from lamina.oci.timestamp import format_time
from lamina.overlay.format import USER
from lamina.runtime.plan import make_like
from lamina.store import making
from lamina.store.layers import tree_path
from lamina.store.steps import StepRecord, find_step, last_key, read_step, write_step

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from lamina.ids.worker import Worker
    from lamina.store.layout import Layout
    from lamina.store.staging import Staging

#: A tree to take files from: its directories, base first, and the text of the .dockerignore that holds for it.
Tree = tuple[list[str], str]


class Surroundings(Protocol):
    """What a stage needs of the build that it is part of."""

    layout: Layout
    worker: Worker
    staging: Staging
    options: BuildOptions
    context: Context
    escape: str
    global_values: dict[str, str]

    def base_state(self, stage: Stage) -> State: ...

    def tree_of(self, stage: Stage, word: Word) -> Tree: ...

    def on_event(self, event: Event) -> None: ...

    def turn(self) -> AbstractContextManager[object]: ...


class StageBuilder:
    """Carries out the instructions of one stage."""

    def __init__(self, build: Surroundings, stage: Stage) -> None:
        self._build = build
        self._stage = stage
        self._number = 0
        self._created = format_time(build.options.created)

    def run(self) -> State:
        """Return the state after the last instruction. Raises BuildError, DockerfileError, and what the parts raise."""
        state = self._build.base_state(self._stage)
        triggers, settings = take_triggers(state.settings)
        state = replace(state, settings=settings)
        inherited = [parse_trigger(trigger, f"ONBUILD of {self._stage.base.image}") for trigger in triggers]
        instructions = [*inherited, *self._stage.instructions]
        for number, instruction in enumerate(instructions, 1):
            self._number = number
            self._say(f"[{self._stage.label} {number}/{len(instructions)}] {_first_line(instruction)}")
            state = self._step(state, instruction)
        return state

    def _step(self, state: State, written: Instruction) -> State:
        expander = Expander(state.variables, escape=self._build.escape)
        instruction = expander.instruction(written)
        configured = configure(
            state,
            instruction,
            expander,
            global_values=self._build.global_values,
            build_args=self._build.options.args,
            escape=self._build.escape,
        )
        if configured is not None:
            # It takes no time of its own: the same steps from the cache are to give the same image.
            created = state.history[-1].created if state.history else format_time(0)
            return with_history(configured, written.text, created=created, empty=True)
        match instruction:
            case Run():
                return self._run(state, instruction, expander.mounts(instruction))
            case Copy():
                return self._copy(state, instruction)
            case Add():
                return self._add(state, instruction)
            case Workdir(path=path):
                return self._workdir(state, instruction, path.text)
        raise at(written, f"{written.name} is not known to this version")

    # RUN

    def _run(self, state: State, run: Run, mounts: tuple[Mount, ...]) -> State:
        if run.security != "sandbox":
            raise at(run, "--security=insecure: a build grants no privileges", "run it with `lamina run --privileged`")
        if run.devices:
            raise at(run, "--device: a build shows no devices", "run it with `lamina run --device`")
        bound = [mount for mount in mounts if isinstance(mount, BindMount)]
        words = run.command.words if isinstance(run.command, ExecForm) else (*state.shell, run.command.text)
        parts = [
            (BELOW, state.below),
            ("the command", digest(repr(words) + repr(run.documents))),
            ("the user", digest(state.settings.user)),
            ("the working directory", digest(state.workdir)),
            ("the network", run.network),
            *variables({name: state.variables[name] for name in state.arguments}, "build argument"),
            *variables(
                {name: value for name, value in state.variables.items() if name not in state.arguments}, "variable"
            ),
            *mount_parts(mounts),
        ]
        for mount in bound:
            parts += self._content_parts(self._mount_tree(mount), [mount.source or "."], [], parents=False)

        def make(directory: str) -> list[str]:
            return run_step(
                self._build.layout,
                self._build.worker,
                state,
                run,
                mounts=mounts,
                options=self._build.options,
                directory=directory,
                materialize=lambda mount: self._materialize(mount, directory),
                on_line=self._say,
            )

        shown = shlex.join(words[:-1]) + " " + words[-1] if len(words) > 1 else words[0]
        created_by = f"RUN {arguments_prefix(state)}{shown} # buildkit"
        return self._file_step(state, run, Key(tuple(parts)), make, created_by)

    def _mount_tree(self, mount: BindMount | CacheMount) -> Tree:
        if mount.from_ is None:
            return [self._build.context.directory], self._build.context.ignore
        return self._build.tree_of(self._stage, Word(mount.from_))

    def _materialize(self, mount: BindMount | CacheMount, directory: str) -> str:
        """Return a directory, or file, with what a mount shows: a copy, which may be written to."""
        layers, ignored = self._mount_tree(mount)
        source = posixpath.normpath("/" + (mount.source or "."))
        top = os.path.join(directory, f"mount-{len(os.listdir(directory))}")
        os.mkdir(top, 0o755)
        empty = self._empty(directory)
        single = len(layers) == 1 and os.path.isfile(layers[0] + source)
        self._build.worker.call(
            files.copy_sources,
            layers=layers,
            ignore=ignored,
            sources=[source.lstrip("/") or "."],
            exclude=[],
            parents=False,
            below=[empty],
            upper=top,
            destination="/" + os.path.basename(source) if single else "/",
            owner=[],
            mode="",
            created=0,
            userxattr=self._userxattr,
            single_id=self._build.layout.single_id,
        )
        return os.path.join(top, os.path.basename(source)) if single else top

    # COPY, ADD, WORKDIR

    def _copy(self, state: State, copy: Copy) -> State:
        tree = (
            ([self._build.context.directory], self._build.context.ignore)
            if copy.from_ is None
            else self._build.tree_of(self._stage, copy.from_)
        )
        owner = [] if copy.from_ is not None else [0, 0]
        return self._take(state, copy, tree, owner=owner, parents=copy.parents)

    def _add(self, state: State, add: Add) -> State:
        for source in add.sources:
            if "://" in source.text or source.text.startswith("git@"):
                raise at(add, f"{source.text}: this version adds local files only", "fetch it in a RUN")
        tree = [self._build.context.directory], self._build.context.ignore
        return self._take(state, add, tree, owner=[0, 0], parents=False)

    def _take(self, state: State, step: Copy | Add, tree: Tree, *, owner: list[int], parents: bool) -> State:
        layers, ignored = tree
        sources = [source.text for source in step.sources]
        destination = absolute(step.destination.text, state.workdir)
        if len(sources) + len(step.documents) > 1 and not destination.endswith("/"):
            destination += "/"
        if step.chown is not None:
            owner = self._owner(state, step.chown.text)
        mode = step.chmod.text if step.chmod is not None else ""
        exclude = list(step.exclude)
        try:
            content = self._content_parts(tree, sources, exclude, parents=parents) if sources else []
        except InvalidInput as error:
            raise at(step, str(error)) from error
        key = Key(
            (
                (BELOW, state.below),
                ("the instruction", f"{step.name} {digest(repr((sources, destination, exclude, parents)))}"),
                ("--chown", repr(owner)),
                ("--chmod", mode),
                ("here-documents", digest(repr(step.documents))),
                *content,
            )
        )

        def make(directory: str) -> list[str]:
            upper = self._upper(state, directory)
            archives = self._archives(step, layers, sources)
            plain = [source for source in sources if source not in archives]
            for source in archives:
                self._unpack(state, layers, source, directory, destination.rstrip("/") or "/")
            work: list[tuple[list[str], list[str], str]] = [(layers, plain, ignored)] if plain else []
            if step.documents:
                work.append(([self._documents(step.documents, directory)], [each.name for each in step.documents], ""))
            for trees, names, ignore_text in work:
                self._build.worker.call(
                    files.copy_sources,
                    layers=trees,
                    ignore=ignore_text,
                    sources=names,
                    exclude=exclude,
                    parents=parents,
                    below=self._below(state, directory),
                    upper=upper,
                    destination=destination,
                    owner=owner if trees is layers else owner or [0, 0],
                    mode=mode,
                    created=self._build.options.created,
                    userxattr=self._userxattr,
                    single_id=self._build.layout.single_id,
                )
            return []

        return self._file_step(state, step, key, make, f"{step.text} # buildkit")

    def _archives(self, step: Copy | Add, layers: list[str], sources: list[str]) -> list[str]:
        """Return those sources that ADD unpacks: local archives, unless --unpack says otherwise."""
        if isinstance(step, Copy) or step.unpack is False or not sources:
            return []
        return self._build.worker.call(files.which_are_archives, layers=layers, sources=sources)

    def _unpack(self, state: State, layers: list[str], source: str, directory: str, destination: str) -> None:
        unpacked = os.path.join(directory, f"unpacked-{len(os.listdir(directory))}")
        os.mkdir(unpacked, 0o755)
        self._build.worker.call(
            files.unpack_archive,
            layers=layers,
            source=source,
            staging=unpacked,
            space=making.space_of(self._build.layout),
            single_id=self._build.layout.single_id,
        )
        self._build.worker.call(
            files.copy_sources,
            layers=[os.path.join(unpacked, "tree")],
            ignore="",
            sources=["."],
            exclude=[],
            parents=False,
            below=self._below(state, directory),
            upper=os.path.join(directory, "upper"),
            destination=destination,
            owner=[],
            mode="",
            created=self._build.options.created,
            userxattr=self._userxattr,
            single_id=self._build.layout.single_id,
        )

    def _documents(self, documents: tuple[HereDocument, ...], directory: str) -> str:
        path = os.path.join(directory, "documents")
        self._build.worker.call(
            files.write_documents,
            directory=path,
            documents=[[document.name, document.text] for document in documents],
            mode="0644",
        )
        return path

    def _workdir(self, state: State, step: Workdir, path: str) -> State:
        path = absolute(path, state.workdir).rstrip("/") or "/"
        state = replace(state, settings=replace(state.settings, working_dir=path))
        key = Key(((BELOW, state.below), ("the directory", digest(path))))

        def make(directory: str) -> list[str]:
            upper = self._upper(state, directory)
            self._build.worker.call(
                files.make_directory,
                below=self._below(state, directory),
                upper=upper,
                path=path,
                owner=[0, 0],
                created=self._build.options.created,
                userxattr=self._userxattr,
                single_id=self._build.layout.single_id,
            )
            return []

        return self._file_step(state, step, key, make, f"WORKDIR {path}")

    def _owner(self, state: State, text: str) -> list[int]:
        names = text.split(":")
        if all(name.isdecimal() for name in names):
            return [int(names[0]), int(names[-1])]
        with self._build.turn():
            empty = self._build.staging.new_path()
            os.mkdir(empty)
            try:
                layers = [tree_path(self._build.layout, name) for name in state.layers] or [empty]
                return self._build.worker.call(files.find_owner, layers=layers, owner=text)
            finally:
                os.rmdir(empty)

    def _content_parts(
        self, tree: Tree, sources: list[str], exclude: list[str], *, parents: bool
    ) -> list[tuple[str, str]]:
        layers, ignored = tree
        found = self._build.worker.call(
            files.digest_sources, layers=layers, ignore=ignored, sources=sources, exclude=exclude, parents=parents
        )
        parts = []
        for path, mode, content in found:
            name = path.lstrip("/") or "."
            parts += [(f"mode of {name}", mode), (f"contents of {name}", content)]
        return parts

    # What all of them share

    def _file_step(
        self, state: State, step: Instruction, key: Key, make: Callable[[str], list[str]], created_by: str
    ) -> State:
        build = self._build
        identities = (
            identity(build.options.target or "", self._stage.label, str(self._number)),
            identity(step.text),
        )
        record = None if build.options.no_cache else find_step(build.staging, key.text)
        if record is not None:
            self._say("CACHED")
        else:
            if build.options.explain_cache:
                self._explain(key, identities)
            with build.turn():
                layer = self._make(state, make)
            record = StepRecord(key.text, layer, self._created, key.texts())
            write_step(build.staging, record, identities)
        layers = (*state.layers, record.layer) if record.layer else state.layers
        state = replace(state, layers=layers, below=key.text)
        return with_history(state, created_by, created=record.created, empty=not record.layer)

    def _make(self, state: State, make: Callable[[str], list[str]]) -> str:
        """Carry out a step in a directory of its own; return the name of the layer that it made, or nothing."""
        build = self._build
        directory = build.staging.new_path()
        os.mkdir(directory, 0o755)
        try:
            made = make(directory)
            layer = making.capture(
                build.staging,
                build.worker,
                [("", os.path.join(directory, "upper"))],
                state.layers,
                over_host=False,
                ignore=made,
                on_event=ignore,
            )
        finally:
            build.worker.call(jobs.remove_tree, path=directory)
        return layer.name if layer.entries else ""

    def _explain(self, key: Key, identities: tuple[str, ...]) -> None:
        for name in identities:
            before = last_key(self._build.layout, name)
            record = read_step(self._build.layout, before) if before else None
            if record is not None:
                self._say(
                    "not from the cache: " + "; ".join(differences(record.parts, key.texts()) or ["its layer is gone"])
                )
                return
        self._say("not from the cache: no earlier run of this step is known")

    def _upper(self, state: State, directory: str) -> str:
        """Make the step's upper directory, which looks like the root below it until the step changes that."""
        upper = os.path.join(directory, "upper")
        os.mkdir(upper, 0o755)
        if state.layers:
            make_like(upper, tree_path(self._build.layout, state.layers[-1]))
        else:
            os.utime(upper, ns=(self._build.options.created, self._build.options.created))
        return upper

    def _below(self, state: State, directory: str) -> list[str]:
        return [tree_path(self._build.layout, name) for name in state.layers] or [self._empty(directory)]

    def _empty(self, directory: str) -> str:
        path = os.path.join(directory, "empty")
        os.makedirs(path, exist_ok=True)
        return path

    @property
    def _userxattr(self) -> bool:
        return making.space_of(self._build.layout) == USER

    def _say(self, line: str) -> None:
        self._build.on_event(Event("build", self._stage.label, text=line))


def _first_line(instruction: Instruction) -> str:
    return instruction.text.partition("\n")[0]
