"""The instructions of a Dockerfile as values: what `parse` makes, `expand` fills in and `print` writes.

Everything here is frozen. What may hold variables is a `Word`, as written until `expand` has been there, and knows its
position; what never expands is a `str`. Positions, the written form and the place of an instruction take no part in
comparisons. Defaults are those of an instruction without the flag.

Implements the instructions of the Dockerfile reference; what each does to an image is the engine's to know.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TypeAlias

from lamina.build.dockerfile.source import NOWHERE, START, Position, Source, Span, Word

_LEADING_TABS = re.compile(r"^\t+", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class ShellForm:
    """A command line for the stage's shell, one text: continuation lines are joined, nothing else is changed."""

    text: str


@dataclass(frozen=True, slots=True)
class ExecForm:
    """A JSON list: the words of the command, run without a shell. May be empty (`CMD []` clears the base's)."""

    words: tuple[str, ...]


CommandLine: TypeAlias = ShellForm | ExecForm


@dataclass(frozen=True, slots=True)
class HereDocument:
    """A here-document: the lines between `<<NAME` and `NAME`.

    `content` ends with a newline unless it is empty, and is as written: with `chomp` (`<<-`) leading tabs are still
    there, `text` is without them. `expands` is false where a part of NAME was quoted: COPY and ADD then take the
    content literally. RUN hands the content to the shell in either case. `descriptor` is the number before `<<`, or 0.
    """

    name: str
    content: str
    expands: bool = True
    chomp: bool = False
    descriptor: int = 0
    span: Span = field(default=Span(START, START), compare=False, repr=False)

    @property
    def text(self) -> str:
        """The content, without its leading tabs where `<<-` was written."""
        return _LEADING_TABS.sub("", self.content) if self.chomp else self.content


@dataclass(frozen=True, slots=True)
class Pair:
    """A name and a value of ENV or LABEL. `legacy` marks the old form `ENV NAME the rest of the line`."""

    name: Word
    value: Word
    legacy: bool = False


@dataclass(frozen=True, slots=True)
class Declaration:
    """A variable that ARG declares; `value` is its default, or None (which differs from an empty one)."""

    name: Word
    value: Word | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    """What all instructions have.

    `text` is the instruction as written, continuations joined, comments within it gone and blanks around it stripped
    (without the lines of here-documents): the words for history and for messages. `keyword` is its name as written.
    `span` goes from its first character to the end of its last line, here-documents included. `comments` are the
    comment lines directly above it, without the `#`.
    """

    text: str = field(default="", compare=False, repr=False)
    keyword: str = field(default="", compare=False, repr=False)
    span: Span = field(default=Span(START, START), compare=False, repr=False)
    source: Source = field(default=NOWHERE, compare=False, repr=False)
    comments: tuple[str, ...] = field(default=(), compare=False, repr=False)

    @property
    def name(self) -> str:
        """The instruction's name in capitals: "RUN"."""
        return type(self).__name__.upper()


@dataclass(frozen=True, slots=True)
class From(Instruction):
    """FROM [--platform=P] IMAGE [AS NAME]. `image` and `platform` expand with the global arguments alone.

    `image` is a named context, an earlier stage's name, `scratch` or a reference.
    `stage` is NAME in lower case, or None; `stage_word` as it was written; `as_word` the "AS" as it was written.
    """

    image: Word
    platform: Word | None = None
    stage: str | None = None
    stage_word: Word | None = field(default=None, compare=False, repr=False)
    as_word: Word | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Arg(Instruction):
    """ARG NAME[=DEFAULT] ...: at least one."""

    declarations: tuple[Declaration, ...]


@dataclass(frozen=True, slots=True)
class Env(Instruction):
    """ENV NAME=VALUE ...: at least one. All values expand with the environment before this instruction."""

    pairs: tuple[Pair, ...]


@dataclass(frozen=True, slots=True)
class Label(Instruction):
    """LABEL NAME=VALUE ...: at least one."""

    pairs: tuple[Pair, ...]


@dataclass(frozen=True, slots=True)
class Run(Instruction):
    """RUN [--mount=...] [--network=...] [--security=...] [--device=...] COMMAND.

    `mounts` are the texts of the --mount flags in order; they expand, and `mounts.parse_mount` gives their meaning.
    `devices` likewise are the texts of --device. `network` is "default", "none" or "host"; `security` "sandbox" or
    "insecure". With here-documents the command is in shell form and names them: `<<EOF` alone is a script, `python3
    <<EOF` a command with an input.
    """

    command: CommandLine
    documents: tuple[HereDocument, ...] = ()
    mounts: tuple[Word, ...] = ()
    network: str = "default"
    security: str = "sandbox"
    devices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Copy(Instruction):
    """COPY [FLAGS] SOURCE ... DESTINATION; sources are `sources` and the here-documents, at least one in all.

    `from_` names a stage (name or number), a named context or an image, and does not expand. `chmod` is octal or
    symbolic (see `modes.parse_mode`), `chown` `user[:group]`, names or numbers. `exclude` are patterns as in
    .dockerignore and do not expand.
    """

    sources: tuple[Word, ...]
    destination: Word
    documents: tuple[HereDocument, ...] = ()
    from_: Word | None = None
    chown: Word | None = None
    chmod: Word | None = None
    link: bool = False
    parents: bool = False
    exclude: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Add(Instruction):
    """ADD [FLAGS] SOURCE ... DESTINATION; as COPY, and a source may be an archive, a URL or a git repository.

    `unpack` None means the rule of the source's kind: local archives are unpacked, downloaded ones are not.
    `keep_git_dir` None means false unless the URL says otherwise. `checksum` is `ALGORITHM:HEX` for a URL, or a commit
    for git.
    """

    sources: tuple[Word, ...]
    destination: Word
    documents: tuple[HereDocument, ...] = ()
    chown: Word | None = None
    chmod: Word | None = None
    checksum: Word | None = None
    link: bool = False
    keep_git_dir: bool | None = None
    unpack: bool | None = None
    exclude: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Cmd(Instruction):
    """CMD COMMAND: what a container runs, or the arguments of ENTRYPOINT. Expands nothing."""

    command: CommandLine


@dataclass(frozen=True, slots=True)
class Entrypoint(Instruction):
    """ENTRYPOINT COMMAND. Expands nothing; drops the CMD of the base image, not one of this stage."""

    command: CommandLine


@dataclass(frozen=True, slots=True)
class Shell(Instruction):
    """SHELL ["program", "argument", ...]: what runs the shell forms after it. JSON form only, not empty."""

    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Workdir(Instruction):
    """WORKDIR PATH: absolute, or relative to the one before."""

    path: Word


@dataclass(frozen=True, slots=True)
class User(Instruction):
    """USER NAME[:GROUP], names or numbers."""

    user: Word


@dataclass(frozen=True, slots=True)
class Volume(Instruction):
    """VOLUME PATH ..., or a JSON list of paths: at least one."""

    paths: tuple[Word, ...]


@dataclass(frozen=True, slots=True)
class Expose(Instruction):
    """EXPOSE PORT[-PORT][/PROTOCOL] ...: as written; a word may expand into several. `ports.parse_ports` reads them."""

    ports: tuple[Word, ...]


@dataclass(frozen=True, slots=True)
class Stopsignal(Instruction):
    """STOPSIGNAL SIGNAL: a name with or without SIG, or a number."""

    signal: Word


@dataclass(frozen=True, slots=True)
class Healthcheck(Instruction):
    """HEALTHCHECK [FLAGS] CMD COMMAND, or HEALTHCHECK NONE, where `command` is None.

    Durations are nanoseconds, as the image's config has them; 0 means "as inherited", and so does `retries` 0.
    """

    command: CommandLine | None
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0


@dataclass(frozen=True, slots=True)
class Onbuild(Instruction):
    """ONBUILD INSTRUCTION: `trigger` is its text as the image's config keeps it, `instruction` its meaning.

    A here-document's lines and its closing name follow the trigger's first line. `parse.parse_trigger` reads it again.
    """

    trigger: str
    instruction: Instruction = field(compare=False)


@dataclass(frozen=True, slots=True)
class Maintainer(Instruction):
    """MAINTAINER NAME: the author of the image; deprecated."""

    maintainer: str


@dataclass(frozen=True, slots=True)
class Directive:
    """A parser directive at the top of the file: `# NAME=VALUE`; NAME is "syntax", "escape" or "check"."""

    name: str
    value: str
    line: int = field(default=1, compare=False)


@dataclass(frozen=True, slots=True)
class Stage:
    """A FROM and the instructions after it, up to the next one. `index` counts from 0."""

    index: int
    base: From
    instructions: tuple[Instruction, ...]

    @property
    def name(self) -> str | None:
        """The name that `AS` gave it, in lower case, or None."""
        return self.base.stage

    @property
    def label(self) -> str:
        """What people call it: its name, or its number ("stage-0")."""
        return self.base.stage or f"stage-{self.index}"


@dataclass(frozen=True, slots=True)
class Dockerfile:
    """A parsed file: parser directives, global ARGs (those before the first FROM), and stages in order, at least one.

    `gaps` are the empty lines within continued instructions.
    """

    arguments: tuple[Arg, ...]
    stages: tuple[Stage, ...]
    directives: tuple[Directive, ...] = ()
    source: Source = field(default=NOWHERE, compare=False, repr=False)
    gaps: tuple[Position, ...] = field(default=(), compare=False, repr=False)

    @property
    def escape(self) -> str:
        """The escape character that the `escape` directive set: a backslash unless it is a backquote."""
        return next((directive.value for directive in self.directives if directive.name == "escape"), "\\")

    def stage(self, name: str) -> Stage | None:
        """Return the stage that `name` means: a name in any case (the last of that name), or a number; or None."""
        for stage in reversed(self.stages):
            if stage.name is not None and stage.name == name.lower():
                return stage
        if name.isascii() and name.isdigit() and len(name) < 10 and int(name) < len(self.stages):
            return self.stages[int(name)]
        return None
