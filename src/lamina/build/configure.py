"""Instructions that change an image's config and no file: pure functions from state to state."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import replace

from lamina.build.dockerfile.arguments import BUILDER_ARGUMENTS, Argument, declare
from lamina.build.dockerfile.expand import Expander
from lamina.build.dockerfile.instructions import (
    Arg,
    Cmd,
    CommandLine,
    Entrypoint,
    Env,
    Expose,
    Healthcheck,
    Instruction,
    Label,
    Maintainer,
    Onbuild,
    Shell,
    ShellForm,
    Stopsignal,
    User,
    Volume,
)
from lamina.build.values import State
from lamina.build.wording import argument_words, configured_words
from lamina.oci.config import History, Settings


def configure(
    state: State,
    instruction: Instruction,
    expander: Expander,
    *,
    global_values: Mapping[str, str],
    build_args: Mapping[str, str],
    escape: str,
) -> tuple[State, str] | None:
    """Return the state after an instruction that changes no file, and what history is to say; None for any other.

    `instruction` is expanded already. Nothing is to be said about ONBUILD.
    """
    match instruction:
        case Arg():
            declared = declare(instruction, state.variables, global_values, build_args, escape=escape)
            return _declared(state, declared), argument_words(declared)
        case Env(pairs=pairs):
            values = {pair.name.text: pair.value.text for pair in pairs}
            changed = replace(state.settings, env=_with_env(state.settings.env, values))
            state = replace(state, settings=changed, variables={**state.variables, **values})
            return state, configured_words(instruction, changed)
        case Maintainer(maintainer=maintainer):
            return replace(state, author=maintainer), configured_words(instruction, state.settings)
        case Shell(words=words):
            state = replace(state, shell=words)
        case Cmd():
            state = replace(state, has_cmd=True)
    settings = _command_settings(state, instruction) or _other_settings(state.settings, instruction, expander)
    if settings is None:
        return None
    ports = expander.ports(instruction) if isinstance(instruction, Expose) else ()
    return replace(state, settings=settings), configured_words(instruction, settings, ports)


def _command_settings(state: State, instruction: Instruction) -> Settings | None:
    """Return the settings after an instruction about the process, with the stage's shell; None for any other."""
    settings = state.settings
    match instruction:
        case Cmd(command=command):
            # What ArgsEscaped tells has a meaning on Windows only; it is there all the same.
            return _with_other(replace(settings, cmd=words_of(command, state.shell)), "ArgsEscaped", value=True)
        case Entrypoint(command=command):
            # The base's CMD was meant for the base's ENTRYPOINT.
            cmd = settings.cmd if state.has_cmd else None
            return replace(settings, entrypoint=words_of(command, state.shell), cmd=cmd)
        case Shell(words=words):
            return _with_other(settings, "Shell", list(words))
    return None


def _other_settings(settings: Settings, instruction: Instruction, expander: Expander) -> Settings | None:
    """Return the settings after any other instruction that changes no file; None for one that does."""
    changes: dict[str, object] = {}
    match instruction:
        case Label(pairs=pairs):
            changes["labels"] = {**settings.labels, **{pair.name.text: pair.value.text for pair in pairs}}
        case User(user=user):
            changes["user"] = user.text
        case Expose():
            changes["exposed_ports"] = tuple(sorted({*settings.exposed_ports, *expander.ports(instruction)}))
        case Volume(paths=paths):
            changes["volumes"] = tuple(sorted({*settings.volumes, *(path.text for path in paths)}))
        case Stopsignal(signal=signal):
            changes["stop_signal"] = signal.text
        case Healthcheck():
            return _with_other(settings, "Healthcheck", _healthcheck(instruction))
        case Onbuild(trigger=trigger):
            return _with_other(settings, "OnBuild", [*_triggers(settings), trigger])
        case _:
            return None
    return replace(settings, **changes)  # type: ignore[arg-type]  # fields of Settings, each of its own type


def with_history(state: State, created_by: str, *, created: str, empty: bool) -> State:
    """Return the state with one more entry of history."""
    entry = History(created=created, created_by=created_by, author=state.author, empty_layer=empty)
    return replace(state, history=(*state.history, entry))


def words_of(command: CommandLine, shell: tuple[str, ...]) -> tuple[str, ...]:
    """Return the words of a command: of the shell form, the stage's shell with it."""
    return (*shell, command.text) if isinstance(command, ShellForm) else command.words


def take_triggers(settings: Settings) -> tuple[list[str], Settings]:
    """Return what ONBUILD left in a base image, and the settings without it: triggers are not inherited twice."""
    other = {name: value for name, value in settings.other.items() if name != "OnBuild"}
    return _triggers(settings), replace(settings, other=other)


def absolute(path: str, workdir: str) -> str:
    """Return `path` as seen from the working directory, cleaned; a slash at the end stays."""
    joined = posixpath.normpath(posixpath.join("/", workdir, path))
    joined = "/" + joined.lstrip("/")
    return joined + "/" if path.endswith(("/", "/.")) and joined != "/" else joined


def _declared(state: State, declared: tuple[Argument, ...]) -> State:
    values = {one.name: one.value or "" for one in declared if one.in_environment}
    names = [one.name for one in declared if one.name not in BUILDER_ARGUMENTS]
    arguments = tuple(dict.fromkeys((*state.arguments, *names)))
    return replace(state, variables={**state.variables, **values}, arguments=arguments)


def _with_env(env: tuple[str, ...], values: Mapping[str, str]) -> tuple[str, ...]:
    """Return the entries with `values` in the places that their names had, new ones at the end."""
    merged = {**dict(entry.partition("=")[::2] for entry in env), **values}
    return tuple(f"{name}={value}" for name, value in merged.items())


def _with_other(settings: Settings, name: str, value: object) -> Settings:
    return replace(settings, other={**settings.other, name: value})


def _triggers(settings: Settings) -> list[str]:
    triggers = settings.other.get("OnBuild") or []
    return [str(trigger) for trigger in triggers] if isinstance(triggers, list | tuple) else []


def _healthcheck(check: Healthcheck) -> dict[str, object]:
    if check.command is None:
        return {"Test": ["NONE"]}
    command = check.command
    test = ["CMD-SHELL", command.text] if isinstance(command, ShellForm) else ["CMD", *command.words]
    fields: dict[str, object] = {
        "Test": test,
        "Interval": check.interval,
        "Timeout": check.timeout,
        "StartPeriod": check.start_period,
        "StartInterval": check.start_interval,
        "Retries": check.retries,
    }
    return {name: value for name, value in fields.items() if value}
