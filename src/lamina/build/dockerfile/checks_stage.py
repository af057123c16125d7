"""Build checks that follow a stage from instruction to instruction, with its variables."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from lamina.build.dockerfile import rules
from lamina.build.dockerfile.arguments import BUILDER_ARGUMENTS, DEFAULT_PATH, declare
from lamina.build.dockerfile.checks_text import Note
from lamina.build.dockerfile.expand import Expander
from lamina.build.dockerfile.ignore import IgnoreMatcher
from lamina.build.dockerfile.instructions import (
    Add,
    Arg,
    Cmd,
    Copy,
    Entrypoint,
    Env,
    Expose,
    Healthcheck,
    Instruction,
    Run,
    Shell,
    ShellForm,
    Workdir,
)
from lamina.build.dockerfile.ports import BadPort, parse_ports
from lamina.build.dockerfile.source import DockerfileError, Word, did_you_mean

_SECRET = re.compile(
    r"(?:_|^)(?:apikey|auth|credentials?|key|password|pword|passwd|secret|token)(?:_|$)", re.IGNORECASE
)
_NO_SECRET = re.compile(r"(?:_|^)(?:public|file|version)(?:_|$)", re.IGNORECASE)
_URL = re.compile(r"(?:https?|git|ssh)://|git@")
_EVERYTHING = ("*", "**", "**/*")


@dataclass(frozen=True, slots=True)
class BaseImage:
    """What is known about a base image: its environment, whether it sets a SHELL, and its platform or ""."""

    environment: Mapping[str, str]
    has_shell: bool = False
    platform: str = ""


@dataclass(slots=True)
class StageState:
    """A stage as far as it was read. Not `known` is the environment of a base image that nobody has looked at."""

    environment: dict[str, str]
    known: bool
    has_shell: bool = False
    has_workdir: bool = False
    declared: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.environment.setdefault("PATH", DEFAULT_PATH)

    def inherited(self) -> StageState:
        """Return the state that a stage which builds on this one begins with."""
        return replace(self, environment=dict(self.environment), declared=set(self.declared))


class StageChecker:
    """Checks the instructions of one stage, in order; `state` is brought forward."""

    def __init__(
        self,
        state: StageState,
        *,
        global_values: Mapping[str, str],
        build_args: Mapping[str, str],
        escape: str,
        ignore: IgnoreMatcher | None,
        note: Note,
    ) -> None:
        self._state = state
        self._globals = global_values
        self._build_args = build_args
        self._escape = escape
        self._ignore = ignore if ignore is not None and not ignore.has_exceptions else None
        self._note = note
        self._once: dict[str, Instruction] = {}

    def take(self, instruction: Instruction) -> None:
        """Check the next instruction."""
        expander = Expander(self._state.environment, escape=self._escape)
        match instruction:
            case Arg():
                self._arg(instruction, expander)
            case Env():
                self._env(instruction, expander.instruction(instruction))
            case Run():
                expander.mounts(instruction)
            case Cmd() | Entrypoint() | Healthcheck():
                self._command(instruction)
            case Workdir():
                self._workdir(instruction, expander.instruction(instruction))
            case Copy() | Add():
                self._copied(instruction, expander.instruction(instruction))
            case Expose():
                self._expose(instruction, expander)
            case Shell():
                self._state.has_shell = True
            case _:
                expander.instruction(instruction)
        self._missing(instruction, expander)

    def _arg(self, arg: Arg, expander: Expander) -> None:
        declared = declare(
            arg,
            self._state.environment,
            self._globals,
            self._build_args,
            escape=self._escape,
            expander=expander,
        )
        for argument, declaration in zip(declared, arg.declarations, strict=True):
            self._secret(arg, declaration.name)
            self._state.declared.add(argument.name)
            if argument.in_environment and argument.value is not None:
                self._state.environment[argument.name] = argument.value

    def _env(self, written: Env, filled: Env) -> None:
        for pair, expanded in zip(written.pairs, filled.pairs, strict=True):
            self._secret(written, replace(pair.name, text=expanded.name.text))
            self._state.environment[expanded.name.text] = expanded.value.text

    def _secret(self, instruction: Instruction, name: Word) -> None:
        if _SECRET.search(name.text) and not _NO_SECRET.search(name.text):
            message = f"{instruction.name} {name} looks like a secret, and would stay in the image"
            self._note(rules.SECRETS, instruction, name.start, message, "use RUN --mount=type=secret")

    def _command(self, instruction: Cmd | Entrypoint | Healthcheck) -> None:
        before = self._once.get(instruction.name)
        if before is not None:
            message = (
                f"this {instruction.name} has no effect: the one in line {instruction.span.start.line} replaces it"
            )
            self._note(rules.MULTIPLE_INSTRUCTIONS, before, before.span.start, message, "remove it")
        self._once[instruction.name] = instruction
        if isinstance(instruction, Healthcheck) or self._state.has_shell:
            return
        if isinstance(instruction.command, ShellForm):
            message = f"{instruction.name} in shell form: the shell gets the signals, and may not pass them on"
            hint = f'write {instruction.name} ["program", "argument"]'
            self._note(rules.JSON_ARGS, instruction, instruction.span.start, message, hint)

    def _workdir(self, written: Workdir, filled: Workdir) -> None:
        if not self._state.has_workdir and not filled.path.text.startswith("/"):
            message = f"{written.path} depends on the base image's working directory"
            self._note(rules.WORKDIR_RELATIVE, written, written.path.start, message, "begin with an absolute path")
        self._state.has_workdir = True

    def _copied(self, written: Copy | Add, filled: Copy | Add) -> None:
        if self._ignore is None or (isinstance(written, Copy) and written.from_ is not None):
            return
        for word, expanded in zip(written.sources, filled.sources, strict=True):
            if not _URL.match(expanded.text) and self._ignored(self._ignore, expanded.text):
                message = f".dockerignore leaves out {expanded}"
                self._note(
                    rules.COPY_IGNORED, written, word.start, message, "change the pattern, or add an exception with !"
                )

    def _ignored(self, ignore: IgnoreMatcher, path: str) -> bool:
        cleaned = posixpath.normpath(path).lstrip("/") or "."
        if cleaned == ".":
            return any(pattern.text in _EVERYTHING for pattern in ignore.patterns)
        return ignore.matches(cleaned)

    def _expose(self, expose: Expose, expander: Expander) -> None:
        for written in expose.ports:
            for word in expander.words(written, expose.source):
                try:
                    ports = parse_ports(word.text)
                except BadPort as error:
                    raise DockerfileError(expose.source, written.start, f"{word}: {error}") from error
                if ports.spelled != ports.spelled.lower():
                    hint = f"write {ports.protocol}"
                    self._note(rules.EXPOSE_CASING, expose, written.start, f"{word} has its protocol in capitals", hint)
                if ports.published:
                    message = f"{word} names an address or a port of the host, which EXPOSE does not set"
                    self._note(rules.EXPOSE_FORMAT, expose, written.start, message, "use -p of run for that")

    def _missing(self, instruction: Instruction, expander: Expander) -> None:
        if not self._state.known:
            return
        for name, position in expander.missing.items():
            if name in self._state.declared or name in BUILDER_ARGUMENTS:
                continue
            message = f"no ARG or ENV before it sets {name}"
            hint = did_you_mean(name, self._state.environment)
            self._note(rules.UNDEFINED_VAR, instruction, position, message, hint)
