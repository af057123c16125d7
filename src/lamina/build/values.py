"""What a build is asked for, what it has in its hands, and what comes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lamina.build.bases import Pull
from lamina.build.cachespec import CachePlace, CacheTarget
from lamina.build.dockerfile.instructions import Instruction
from lamina.build.dockerfile.source import DockerfileError
from lamina.errors import LaminaError, one_line
from lamina.oci.config import History, Settings
from lamina.oci.platform import Platform


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOptions:
    """Everything that `lamina build` can be told.

    `secrets` are paths, or the values as bytes, by id; `contexts` further sources of files by name: directories,
    "docker-image://NAME" or "oci-layout://DIR[:TAG][@DIGEST]". With `resume` a command that failed starts over what its
    upper had. `created` is the time of everything that is made, in nanoseconds since the epoch; `epoch` is
    SOURCE_DATE_EPOCH if that was given, `created` being the same then. With `rewrite_times`, files that are newer get
    it, too. `platform` is what is built for, None for this machine. `no_cache_stages` are names of stages whose steps
    are all carried out. `annotations` are the manifest's.
    """

    tags: tuple[str, ...] = ()
    target: str | None = None
    args: Mapping[str, str] = field(default_factory=dict)
    contexts: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str | bytes] = field(default_factory=dict)
    ssh: Mapping[str, str] = field(default_factory=dict)
    add_hosts: tuple[tuple[str, str], ...] = ()
    network: str = "host"
    annotations: Mapping[str, str] = field(default_factory=dict)
    no_cache: bool = False
    no_cache_stages: frozenset[str] = frozenset()
    squash: bool = False
    explain_cache: bool = False
    resume: bool = False
    cache_from: tuple[CachePlace, ...] = ()
    cache_to: tuple[CacheTarget, ...] = ()
    pull: Pull = "missing"
    platform: Platform | None = None
    jobs: int = 4
    created: int = 0
    epoch: int | None = None
    rewrite_times: bool = False


@dataclass(frozen=True, slots=True)
class State:
    """A stage so far: what the next instruction starts from.

    `layers` are names of the store, base first, once the stage has ended; `trees` are directories of changes, base
    first, to stand on while it goes on: a step's upper serves as one before it is a layer. `below` is the key of the
    file tree. `variables` are what ARG and ENV gave: for expansion and the environment of RUN; `arguments` names those
    that ARG gave. The first `base_layers` layers and `base_history` entries are those of the base image; `platform` is
    its platform, None until there is one. `steps` are the keys of the steps that led here.
    """

    settings: Settings = field(default_factory=Settings)
    layers: tuple[str, ...] = ()
    trees: tuple[str, ...] = ()
    history: tuple[History, ...] = ()
    below: str = ""
    author: str = ""
    variables: Mapping[str, str] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()
    shell: tuple[str, ...] = ("/bin/sh", "-c")
    has_cmd: bool = False
    base_layers: int = 0
    base_history: int = 0
    steps: tuple[str, ...] = ()
    platform: Platform | None = None

    @property
    def workdir(self) -> str:
        """The working directory, "/" by default."""
        return self.settings.working_dir or "/"


@dataclass(frozen=True, slots=True)
class Tree:
    """A tree to take files from: its layers, base first (directories, or a tar archive), and the .dockerignore's text.

    `owner` is whose the files are where nothing else is said, as --chown has it; "" for those that they have. `rows`
    are what was found when files of it were digested (`files.digest_sources`), if they could change since: they lie on
    the host.
    """

    layers: list[str]
    ignore: str = ""
    owner: str = ""
    rows: list[list[str]] | None = None


class BuildError(LaminaError):
    """A command failed: `output` are the last lines that it said, `ignored` names in its upper made for mounts.

    `kept` is the name under which the states before and after it are kept (`store.failed`), empty where they are not.
    """

    def __init__(
        self,
        instruction: Instruction,
        reason: str,
        *,
        output: tuple[str, ...] = (),
        ignored: tuple[str, ...] = (),
        kept: str = "",
    ) -> None:
        source, start = instruction.source, instruction.span.start
        self.output = output
        self.ignored = ignored
        self.kept = kept
        self.instruction = instruction
        hint = f"lamina run --rm -it {kept}@failed shows what it left; --resume goes on from there" if kept else ""
        self.what = reason
        place = f"{source.name}:{start.line}" if source.name else "the instruction"
        super().__init__("build", f"{place}: {one_line(instruction.text)}", reason, hint)


class Stopped(LaminaError):
    """A step was not carried out, since the build ends: another step failed, or a signal came."""

    def __init__(self) -> None:
        super().__init__("build", "the stage", "the build was stopped")


def at(instruction: Instruction, reason: str, hint: str = "") -> DockerfileError:
    """Return the error for an instruction that cannot be carried out as it stands."""
    return DockerfileError(instruction.source, instruction.span.start, reason, hint)
