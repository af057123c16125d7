"""What an instruction that changes files comes to: an operation, with the parts of its cache key.

Pure: from a stage's state and an expanded instruction to a value. Carrying it out is `carry`'s; the content of what it
takes, which is part of its key too, is asked for only where the rest of the key is known.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from lamina.build.configure import absolute
from lamina.build.dockerfile.heredoc import Script, run_form
from lamina.build.dockerfile.instructions import (
    Add,
    Copy,
    ExecForm,
    HereDocument,
    Instruction,
    Run,
    ShellForm,
    Workdir,
)
from lamina.build.dockerfile.modes import parse_mode
from lamina.build.dockerfile.mounts import BindMount, CacheMount, Mount
from lamina.build.dockerfile.source import Word
from lamina.build.inputs.names import is_remote
from lamina.build.keys import Part, digest, variables
from lamina.build.running import mount_parts
from lamina.build.values import State, at
from lamina.build.wording import copy_words, run_words


@dataclass(frozen=True, slots=True)
class Take:
    """Files that an operation takes: of the stage, named context or image `from_`; of the build context if None."""

    from_: Word | None
    sources: tuple[str, ...]
    exclude: tuple[str, ...] = ()
    parents: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOp:
    """Run a command. `takes` are the files of its bind mounts."""

    step: Run
    mounts: tuple[Mount, ...]
    parts: tuple[Part, ...]
    takes: tuple[Take, ...]
    created_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyOp:
    """Copy files to `destination`, which is absolute and ends with a slash where it is to be a directory.

    `owner` is the text of --chown, or "" for what the files' tree says; `mode` that of --chmod. `remotes` are those
    sources of an ADD that come from outside.
    """

    step: Copy | Add
    take: Take
    remotes: tuple[Word, ...]
    documents: tuple[HereDocument, ...]
    destination: str
    owner: str
    mode: str
    parts: tuple[Part, ...]
    created_by: str

    @property
    def takes(self) -> tuple[Take, ...]:
        """What it takes, apart from here-documents."""
        return (self.take,) if self.take.sources else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkdirOp:
    """Make the directory `path` where there is none; `owner` is what USER said."""

    step: Workdir
    path: str
    owner: str
    parts: tuple[Part, ...]
    created_by: str

    @property
    def takes(self) -> tuple[Take, ...]:
        """Nothing."""
        return ()


Operation: TypeAlias = RunOp | CopyOp | WorkdirOp


def plan_step(state: State, step: Instruction, mounts: tuple[Mount, ...]) -> Operation:
    """Return the operation of an expanded instruction; `mounts` are those of a RUN. Raises DockerfileError."""
    match step:
        case Run():
            return _plan_run(state, step, mounts)
        case Copy():
            return _plan_copy(state, step, from_=step.from_, parents=step.parents)
        case Add():
            return _plan_copy(state, step, from_=None, parents=False)
        case Workdir(path=path):
            place = absolute(path.text, state.workdir).rstrip("/") or "/"
            owner = state.settings.user
            parts = (("the directory", digest(place)), ("its owner", owner))
            return WorkdirOp(step=step, path=place, owner=owner, parts=parts, created_by=f"WORKDIR {place}")
    raise at(step, f"{step.name} is not known to this version")


def take_of(mount: BindMount | CacheMount) -> Take:
    """Return what a mount shows."""
    return Take(None if mount.from_ is None else Word(mount.from_), (mount.source or ".",))


def _plan_run(state: State, run: Run, mounts: tuple[Mount, ...]) -> RunOp:
    if run.security != "sandbox":
        raise at(run, "--security=insecure: a build grants no privileges", "run it with `lamina run --privileged`")
    if run.devices:
        raise at(run, "--device: a build shows no devices", "run it with `lamina run --device`")
    words = run.command.words if isinstance(run.command, ExecForm) else (*state.shell, run.command.text)
    return RunOp(
        step=run,
        mounts=mounts,
        parts=(
            ("the command", digest(repr(words) + repr(run.documents))),
            ("the user", digest(state.settings.user)),
            ("the working directory", digest(state.workdir)),
            ("the network", run.network),
            *_environment_parts(state),
            *mount_parts(mounts),
        ),
        takes=tuple(take_of(mount) for mount in mounts if isinstance(mount, BindMount)),
        created_by=run_words(_history_words(state, run), state.arguments, state.variables),
    )


def _history_words(state: State, run: Run) -> tuple[str, ...]:
    match run_form(run):
        case ExecForm(words=words):
            return words
        case ShellForm(text=text):
            return (*state.shell, text)
        case Script(name=name):
            return (*state.shell, f"/dev/pipes/{name}")


def _environment_parts(state: State) -> Iterable[Part]:
    given = {name: value for name, value in state.variables.items() if name in state.arguments}
    others = {name: value for name, value in state.variables.items() if name not in state.arguments}
    yield from variables(given, "build argument")
    yield from variables(others, "variable")


def _plan_copy(state: State, step: Copy | Add, *, from_: Word | None, parents: bool) -> CopyOp:
    remotes = tuple(source for source in step.sources if is_remote(source.text)) if isinstance(step, Add) else ()
    local = tuple(source.text for source in step.sources if source not in remotes)
    take = Take(from_, local, tuple(step.exclude), parents)
    destination = absolute(step.destination.text, state.workdir)
    if len(step.sources) + len(step.documents) > 1 and not destination.endswith("/"):
        destination += "/"
    # Names of --chown may stand in the key as written: what they mean is decided by the tree below, whose key is too.
    owner = step.chown.text if step.chown is not None else ""
    mode = step.chmod.text if step.chmod is not None else ""
    if mode and parse_mode(mode) is None:
        raise at(step, f"--chmod={mode}: expected an octal mode up to 7777, or a symbolic one", "--chmod=u=rwX,go=rX")
    own = (step.unpack, step.keep_git_dir) if isinstance(step, Add) else ()
    how = (take.sources, destination, take.exclude, parents, *own)
    return CopyOp(
        step=step,
        take=take,
        remotes=remotes,
        documents=step.documents,
        destination=destination,
        owner=owner,
        mode=mode,
        parts=(
            ("the instruction", f"{step.name} {digest(repr(how))}"),
            ("--chown", owner),
            ("--chmod", mode),
            ("here-documents", digest(repr(step.documents))),
        ),
        created_by=copy_words(step),
    )
