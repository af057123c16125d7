"""Instructions that change an image's config and no file: pure functions from state to state."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import replace

from lamina.build.dockerfile.arguments import declare
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
from lamina.oci.config import History, Settings


def configure(
    state: State,
    instruction: Instruction,
    expander: Expander,
    *,
    global_values: Mapping[str, str],
    build_args: Mapping[str, str],
    escape: str,
) -> State | None:
    """Return the state after an instruction that changes no file, without its history; None for any other.

    `instruction` is expanded already.
    """
    match instruction:
        case Arg():
            return _declared(state, instruction, global_values, build_args, escape)
        case Env(pairs=pairs):
            values = {pair.name.text: pair.value.text for pair in pairs}
            changed = replace(state.settings, env=_with_env(state.settings.env, values))
            variables = {**state.variables, **values}
            return replace(state, settings=changed, variables=variables, arguments=state.arguments - values.keys())
        case Maintainer(maintainer=maintainer):
            return replace(state, author=maintainer)
        case Shell(words=words):
            state = replace(state, shell=words)
        case Cmd():
            state = replace(state, has_cmd=True)
    settings = _command_settings(state, instruction) or _other_settings(state.settings, instruction, expander)
    return replace(state, settings=settings) if settings else None


def _command_settings(state: State, instruction: Instruction) -> Settings | None:
    """Return the settings after an instruction about the process, with the stage's shell; None for any other."""
    settings = state.settings
    match instruction:
        case Cmd(command=command):
            return replace(settings, cmd=words_of(command, state.shell))
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


def _declared(
    state: State, arg: Arg, global_values: Mapping[str, str], build_args: Mapping[str, str], escape: str
) -> State:
    variables, arguments = dict(state.variables), set(state.arguments)
    environment = {entry.partition("=")[0] for entry in state.settings.env}
    for argument in declare(arg, state.variables, global_values, build_args, escape=escape):
        # A variable of ENV counts more than an ARG of its name, wherever that stands.
        if argument.in_environment and argument.name not in environment:
            variables[argument.name] = argument.value or ""
            arguments.add(argument.name)
    return replace(state, variables=variables, arguments=frozenset(arguments))


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
