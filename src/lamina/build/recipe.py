r"""`Recipe`: an image described in Python, instruction by instruction. It prints as a Dockerfile and builds as one.

    tool = Recipe.from_image("gcc:13").copy("src/", to="/src/").run("make -C /src")
    web = Recipe.from_image("debian:12").env(LANG="C.UTF-8").copy("/src/web", to="/bin/", from_=tool)
    print(web)

Texts mean what they mean in a Dockerfile: `$NAME` is replaced where the language does so, and `\$` is a dollar sign.
Quotes and blanks stand for themselves. A command that is one text is for the shell, and may have several lines; a list
of texts is run without one.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Literal, Self, TypeAlias

from lamina.build.dockerfile import instructions as ins
from lamina.build.dockerfile.parse import parse_instruction
from lamina.build.dockerfile.print import print_dockerfile, print_instruction, quoted
from lamina.build.dockerfile.source import Word
from lamina.errors import InvalidInput

#: A command for the shell, or the words of one without it.
Command: TypeAlias = str | Sequence[str]

_STAGE = re.compile("[a-z][a-z0-9_.-]*")


@dataclass(frozen=True, slots=True)
class Mount:
    """What a RUN sees besides its files: made by `bind`, `cache`, `tmpfs`, `secret` and `ssh`. `fields` are those of
    --mount; `from_` is the recipe, named context or image that it shows files of."""

    kind: str
    fields: tuple[tuple[str, str], ...]
    from_: Recipe | str | None = None

    @classmethod
    def bind(cls, target: str, *, source: str = "", from_: Recipe | str | None = None, writable: bool = False) -> Mount:
        """Show files of the context, or of `from_`. What is written to them is thrown away."""
        return cls("bind", _fields(target=target, source=source, rw="true" if writable else ""), from_)

    @classmethod
    def cache(
        cls,
        target: str,
        *,
        id: str = "",  # noqa: A002  # the language's word
        sharing: Literal["shared", "private", "locked"] = "shared",
    ) -> Mount:
        """Show a directory that outlives the build."""
        return cls("cache", _fields(target=target, id=id, sharing="" if sharing == "shared" else sharing))

    @classmethod
    def tmpfs(cls, target: str, *, size: int = 0) -> Mount:
        """Show memory, of at most `size` bytes if that is not 0."""
        return cls("tmpfs", _fields(target=target, size=str(size or "")))

    @classmethod
    def secret(cls, id: str, *, target: str = "", env: str = "", required: bool = False) -> Mount:  # noqa: A002  # the language's word
        """Show a secret that the build is given, as a file or in a variable."""
        return cls("secret", _fields(id=id, target=target, env=env, required="true" if required else ""))

    @classmethod
    def ssh(cls, id: str = "", *, target: str = "", required: bool = False) -> Mount:  # noqa: A002  # the language's word
        """Show an SSH agent that the build is given."""
        return cls("ssh", _fields(id=id, target=target, required="true" if required else ""))

    def text(self, names: Mapping[Recipe, str]) -> str:
        """Return the value of --mount, recipes being the stages `names`."""
        from_ = names[self.from_] if isinstance(self.from_, Recipe) else self.from_ or ""
        fields = (("type", self.kind), *((("from", from_),) if from_ else ()), *self.fields)
        return ",".join(_csv(f"{name}={value}") for name, value in fields)


class RecipeText(io.BytesIO):
    """The text of a recipe; errors call it by its name."""

    name = "recipe"


@dataclass(frozen=True, slots=True)
class _Step:
    """An instruction, without the --from that is a recipe and without its mounts: these have names at the end only."""

    instruction: ins.Instruction
    source: Recipe | None = None
    mounts: tuple[Mount, ...] = ()

    def written(self, names: Mapping[Recipe, str]) -> ins.Instruction:
        """Return the instruction as it is, recipes being the stages `names`."""
        instruction = self.instruction
        if isinstance(instruction, ins.Copy) and self.source is not None:
            return replace(instruction, from_=Word(names[self.source]))
        if isinstance(instruction, ins.Run) and self.mounts:
            return replace(instruction, mounts=tuple(Word(mount.text(names)) for mount in self.mounts))
        return instruction


@dataclass(frozen=True, slots=True)
class Recipe:
    """A stage with all that it stands on. It does not change: every method returns another recipe.

    Two recipes are equal if they say the same. `name` is the stage's, "" for one made up where it needs one.
    """

    base: Recipe | str
    platform: str = ""
    name: str = ""
    steps: tuple[_Step, ...] = field(default=(), repr=False)

    @classmethod
    def from_image(cls, image: str, *, platform: str = "", name: str = "") -> Self:
        """Start from an image, or with "scratch" from nothing."""
        return cls(image, platform, _checked_name(name))

    @classmethod
    def from_stage(cls, stage: Recipe, *, name: str = "") -> Self:
        """Start another stage from the result of `stage`."""
        return cls(stage, "", _checked_name(name))

    # Files

    def run(
        self,
        command: Command,
        *,
        mounts: Iterable[Mount] = (),
        network: Literal["default", "none", "host"] = "default",
    ) -> Self:
        """Run a command."""
        line = _command(command)
        if isinstance(line, ins.ShellForm) and "\n" in line.text:
            run = replace(_script(line.text), network=network)
        else:
            run = ins.Run(line, network=network)
        return self._with(run, mounts=tuple(mounts))

    def copy(
        self,
        *sources: str,
        to: str,
        from_: Recipe | str | None = None,
        chown: str = "",
        chmod: str = "",
        link: bool = False,
        parents: bool = False,
        exclude: Iterable[str] = (),
    ) -> Self:
        """Copy files of the context, or of another recipe, a named context or an image."""
        copy = ins.Copy(
            _words(sources),
            _word(to),
            from_=Word(from_) if isinstance(from_, str) else None,
            chown=_optional(chown),
            chmod=_optional(chmod),
            link=link,
            parents=parents,
            exclude=tuple(exclude),
        )
        return self._with(copy, source=from_ if isinstance(from_, Recipe) else None)

    def add(
        self,
        *sources: str,
        to: str,
        checksum: str = "",
        chown: str = "",
        chmod: str = "",
        link: bool = False,
        unpack: bool | None = None,
        keep_git_dir: bool | None = None,
        exclude: Iterable[str] = (),
    ) -> Self:
        """Add files, archives, addresses and repositories."""
        add = ins.Add(
            _words(sources),
            _word(to),
            checksum=_optional(checksum),
            chown=_optional(chown),
            chmod=_optional(chmod),
            link=link,
            unpack=unpack,
            keep_git_dir=keep_git_dir,
            exclude=tuple(exclude),
        )
        return self._with(add)

    def write(self, content: str, *, to: str, chown: str = "", chmod: str = "") -> Self:
        """Write a file with this content, which ends with a line break."""
        name = _delimiter(content)
        document = ins.HereDocument(name, content if content.endswith("\n") else f"{content}\n", expands=False)
        copy = ins.Copy((), _word(to), documents=(document,), chown=_optional(chown), chmod=_optional(chmod))
        return self._with(copy)

    def workdir(self, path: str) -> Self:
        """Set the working directory, and make it."""
        return self._with(ins.Workdir(_word(path)))

    # Settings

    def env(self, variables: Mapping[str, str] | None = None, /, **more: str) -> Self:
        """Set variables."""
        return self._with(ins.Env(_pairs({**(variables or {}), **more})))

    def label(self, labels: Mapping[str, str] | None = None, /, **more: str) -> Self:
        """Set labels."""
        return self._with(ins.Label(_pairs({**(labels or {}), **more})))

    def arg(self, name: str, default: str | None = None) -> Self:
        """Declare a build argument."""
        value = None if default is None else _word(default)
        return self._with(ins.Arg((ins.Declaration(Word(name), value),)))

    def cmd(self, command: Command) -> Self:
        """Set what a container runs, or the arguments of the entrypoint."""
        return self._with(ins.Cmd(_command(command)))

    def entrypoint(self, command: Command) -> Self:
        """Set what a container always runs."""
        return self._with(ins.Entrypoint(_command(command)))

    def shell(self, words: Sequence[str]) -> Self:
        """Set what runs commands that are one text."""
        return self._with(ins.Shell(tuple(words)))

    def user(self, user: str) -> Self:
        """Set who runs commands: NAME[:GROUP], names or numbers."""
        return self._with(ins.User(_word(user)))

    def volume(self, *paths: str) -> Self:
        """Declare volumes."""
        return self._with(ins.Volume(_words(paths)))

    def expose(self, *ports: str | int) -> Self:
        """Declare ports: 80, "53/udp", "8000-8010"."""
        return self._with(ins.Expose(tuple(Word(str(port)) for port in ports)))

    def stopsignal(self, signal: str | int) -> Self:
        """Set the signal that ends a container."""
        return self._with(ins.Stopsignal(Word(str(signal))))

    def healthcheck(
        self,
        command: Command | None,
        *,
        interval: float = 0,
        timeout: float = 0,
        start_period: float = 0,
        start_interval: float = 0,
        retries: int = 0,
    ) -> Self:
        """Set how a container is checked, with durations in seconds; None switches the base's check off."""
        if command is None:
            return self._with(ins.Healthcheck(None))
        check = ins.Healthcheck(
            _command(command),
            interval=_nanoseconds(interval),
            timeout=_nanoseconds(timeout),
            start_period=_nanoseconds(start_period),
            start_interval=_nanoseconds(start_interval),
            retries=retries,
        )
        return self._with(check)

    def onbuild(self, trigger: str) -> Self:
        """Set an instruction, as text, for images that are built on this one."""
        return self.instruction(f"ONBUILD {trigger}")

    def instruction(self, text: str) -> Self:
        """Add any instruction, as text. Raises DockerfileError."""
        return self._with(parse_instruction(text, ""))

    # The result

    def dockerfile(self) -> ins.Dockerfile:
        """Return the recipe, and those that it takes from before it, as stages."""
        names: dict[Recipe, str] = {}
        self._collect(names, is_target=True)
        stages = (
            ins.Stage(index, recipe._from(names), tuple(step.written(names) for step in recipe.steps))
            for index, recipe in enumerate(names)
        )
        return ins.Dockerfile((), tuple(stages))

    def __str__(self) -> str:
        return print_dockerfile(self.dockerfile())

    def stream(self) -> RecipeText:
        """Return the Dockerfile as a stream, which `Store.build` takes as a context, or as the Dockerfile of one."""
        return RecipeText(str(self).encode("utf-8", "surrogateescape"))

    def _with(
        self, instruction: ins.Instruction, *, source: Recipe | None = None, mounts: tuple[Mount, ...] = ()
    ) -> Self:
        if isinstance(instruction, ins.From):
            raise InvalidInput("add to the recipe", "FROM", "it begins another stage", "Recipe.from_stage")
        step = _Step(instruction, source, mounts)
        # What cannot be written is refused where it is given; names of stages are not known yet, and any will do.
        any_names = dict.fromkeys(_sources_of(step), "stage")
        print_instruction(step.written(any_names))
        return replace(self, steps=(*self.steps, step))

    def _collect(self, names: dict[Recipe, str], *, is_target: bool = False) -> None:
        """Name the recipes that this one needs, each once, and then itself."""
        base = (self.base,) if isinstance(self.base, Recipe) else ()
        for recipe in (*base, *(source for step in self.steps for source in _sources_of(step))):
            if recipe not in names:
                recipe._collect(names)
        taken = set(names.values())
        made_up = (name for name in map("stage{}".format, count(1)) if name not in taken)
        name = self.name or ("" if is_target else next(made_up))
        if name and name in taken:
            raise InvalidInput("print the recipe", name, "two of its stages have this name")
        names[self] = name

    def _from(self, names: Mapping[Recipe, str]) -> ins.From:
        base = names[self.base] if isinstance(self.base, Recipe) else self.base
        return ins.From(Word(base), _optional(self.platform), names[self] or None)


def _sources_of(step: _Step) -> Iterator[Recipe]:
    """Yield the recipes that a step takes files from."""
    if step.source is not None:
        yield step.source
    yield from (mount.from_ for mount in step.mounts if isinstance(mount.from_, Recipe))


def _checked_name(name: str) -> str:
    if name and not _STAGE.fullmatch(name):
        raise InvalidInput("name a stage", name, "expected a small letter, then small letters, digits, _ . and -")
    return name


def _word(text: str) -> Word:
    return Word(quoted(text, expands=True))


def _words(texts: Iterable[str]) -> tuple[Word, ...]:
    return tuple(map(_word, texts))


def _optional(text: str) -> Word | None:
    return Word(text) if text else None


def _pairs(values: Mapping[str, str]) -> tuple[ins.Pair, ...]:
    return tuple(ins.Pair(Word(quoted(name)), _word(value)) for name, value in values.items())


def _command(command: Command) -> ins.CommandLine:
    return ins.ShellForm(command) if isinstance(command, str) else ins.ExecForm(tuple(command))


def _script(text: str) -> ins.Run:
    """Return a RUN of several lines: a here-document for the shell."""
    name = _delimiter(text)
    document = ins.HereDocument(name, text if text.endswith("\n") else f"{text}\n")
    return ins.Run(ins.ShellForm(f"<<{name}"), documents=(document,))


def _delimiter(text: str) -> str:
    """Return a name for a here-document that is no line of it."""
    lines = set(text.split("\n"))
    return next(name for name in ("EOF", *(f"EOF{number}" for number in range(len(lines) + 1))) if name not in lines)


def _fields(**values: str) -> tuple[tuple[str, str], ...]:
    return tuple((name, value) for name, value in values.items() if value)


def _csv(text: str) -> str:
    escaped = text.replace('"', '""')
    return f'"{escaped}"' if any(c in text for c in ',"') else text


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1_000_000_000)
