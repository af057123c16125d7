"""Changes to an image's settings as text: what `--change` takes, in a Dockerfile's words.

`apply_changes(settings, ["ENV A=b", 'CMD ["sh"]'])` is a pure function of both. Which instructions there are and what
they mean is docker's (`docker commit --change`), STOPSIGNAL added.
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import NoReturn

from lamina.errors import InvalidInput
from lamina.oci.config import Settings
from lamina.oci.words import expand, split_words

_SHELL = ("/bin/sh", "-c")  # what runs the form of CMD and ENTRYPOINT that is not a JSON list
_PROTOCOLS = frozenset({"tcp", "udp", "sctp"})


def apply_changes(settings: Settings, changes: Iterable[str]) -> Settings:
    """Return `settings` after all `changes`, in order.

    An ENTRYPOINT drops an inherited CMD, which was meant for another program, unless one of the changes sets it. Raises
    InvalidInput naming the change.
    """
    listed = [_split(change) for change in changes]
    keeps_cmd = any(instruction == "CMD" for _, instruction, _ in listed)
    for change, instruction, rest in listed:
        try:
            settings = _INSTRUCTIONS[instruction](settings, rest)
        except InvalidInput as error:
            _refuse(change, error.reason)
        if instruction == "ENTRYPOINT" and not keeps_cmd:
            settings = replace(settings, cmd=None)
    return settings


def _split(change: str) -> tuple[str, str, str]:
    instruction, _, rest = change.strip().partition(" ")
    instruction, rest = instruction.upper(), rest.strip()
    if instruction not in _INSTRUCTIONS:
        _refuse(change, f"{instruction or 'nothing'} is none of {', '.join(_INSTRUCTIONS)}")
    if not rest:
        _refuse(change, f"{instruction} needs a value")
    if any(c in change for c in "\n\r\0"):
        _refuse(change, "a change is one line")
    if any("\ud800" <= c <= "\udfff" for c in change):
        _refuse(change, "an image's config can hold UTF-8 only")
    return change, instruction, rest


def _refuse(change: str, reason: str) -> NoReturn:
    raise InvalidInput("make the change", repr(change), reason)


def _invalid(reason: str) -> NoReturn:
    raise InvalidInput("read", "the value", reason)  # `apply_changes` names the change in its place


def environment(env: Iterable[str]) -> dict[str, str]:
    """Return `NAME=value` strings as a dictionary; of two with one name the later one counts."""
    return {name: value for name, _, value in (entry.partition("=") for entry in env)}


def set_env(env: Iterable[str], name: str, value: str) -> tuple[str, ...]:
    """Return `env` with `name` set to `value`, in the place that it had or at the end."""
    entries = list(env)
    for i, entry in enumerate(entries):
        if entry.partition("=")[0] == name:
            entries[i] = f"{name}={value}"
            return tuple(entries)
    return (*entries, f"{name}={value}")


def _pairs(rest: str, env: Mapping[str, str]) -> list[tuple[str, str]]:
    # `NAME=value NAME=value`, or the old form `NAME one value with blanks`.
    first = rest.split(None, 1)[0]
    if "=" not in first:
        name, _, value = rest.partition(" ")
        if not value.strip():
            _invalid(f"{name} has no value")
        return [(expand(name, env), expand(value.strip(), env))]
    pairs = []
    for word in split_words(rest, env):
        name, equals, value = word.partition("=")
        if not equals or not name:
            _invalid(f"{word!r} is not NAME=value")
        pairs.append((name, value))
    return pairs


def _env(settings: Settings, rest: str) -> Settings:
    env = settings.env
    for name, value in _pairs(rest, environment(settings.env)):
        env = set_env(env, name, value)
    return replace(settings, env=env)


def _label(settings: Settings, rest: str) -> Settings:
    return replace(settings, labels={**settings.labels, **dict(_pairs(rest, environment(settings.env)))})


def _command(rest: str) -> tuple[str, ...]:
    if not rest.startswith("["):
        return (*_SHELL, rest)
    listed = _json_list(rest)
    # Docker takes what looks like a list and is none for a shell command, and the container then fails in `sh`.
    return listed if listed is not None else _invalid('it begins like a JSON list of strings (["a", "b"]) and is none')


def _json_list(rest: str) -> tuple[str, ...] | None:
    try:
        value = json.loads(rest)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        return None
    return tuple(value)


def _cmd(settings: Settings, rest: str) -> Settings:
    return replace(settings, cmd=_command(rest))


def _entrypoint(settings: Settings, rest: str) -> Settings:
    return replace(settings, entrypoint=_command(rest))


def _workdir(settings: Settings, rest: str) -> Settings:
    path = posixpath.join("/", settings.working_dir, expand(rest, environment(settings.env)))
    return replace(settings, working_dir="/" + posixpath.normpath(path).lstrip("/"))


def _user(settings: Settings, rest: str) -> Settings:
    words = split_words(rest, environment(settings.env))
    return replace(settings, user=words[0]) if len(words) == 1 else _invalid("USER takes one user[:group]")


def _expose(settings: Settings, rest: str) -> Settings:
    ports = set(settings.exposed_ports)
    for word in split_words(rest, environment(settings.env)):
        ports.update(_port(word))
    return replace(settings, exposed_ports=tuple(sorted(ports)))


def _port(word: str) -> list[str]:
    numbers, _, protocol = word.partition("/")
    first, dash, last = numbers.partition("-")
    protocol = (protocol or "tcp").lower()
    ends = [
        int(number) if number.isascii() and number.isdigit() and len(number) <= 5 else 0
        for number in (first, last if dash else first)
    ]
    if protocol not in _PROTOCOLS or not 0 < ends[0] <= ends[1] <= 65535:
        _invalid(f"{word!r} is not PORT[-PORT][/tcp|udp|sctp]")
    return [f"{port}/{protocol}" for port in range(ends[0], ends[1] + 1)]


def _volume(settings: Settings, rest: str) -> Settings:
    listed = _json_list(rest)
    words = split_words(rest, environment(settings.env)) if listed is None else list(listed)
    if not all(words):
        _invalid("a volume is a path")
    return replace(settings, volumes=tuple(sorted({*settings.volumes, *words})))


def _stop_signal(settings: Settings, rest: str) -> Settings:
    import signal  # for this instruction alone

    name = expand(rest, environment(settings.env)).upper()
    known = {member.name for member in signal.Signals}
    if name in known or f"SIG{name}" in known:
        name = name if name in known else f"SIG{name}"
    elif not (name.isascii() and name.isdigit() and len(name) <= 3 and 0 < int(name) <= signal.SIGRTMAX):
        _invalid(f"{rest!r} is no signal")
    return replace(settings, stop_signal=name)


def _onbuild(settings: Settings, rest: str) -> Settings:
    triggers = settings.other.get("OnBuild") or []
    if not isinstance(triggers, list):
        _invalid("the image's OnBuild is not a list")
    return replace(settings, other={**settings.other, "OnBuild": [*triggers, rest]})


_INSTRUCTIONS: Mapping[str, Callable[[Settings, str], Settings]] = {
    "CMD": _cmd,
    "ENTRYPOINT": _entrypoint,
    "ENV": _env,
    "EXPOSE": _expose,
    "LABEL": _label,
    "ONBUILD": _onbuild,
    "STOPSIGNAL": _stop_signal,
    "USER": _user,
    "VOLUME": _volume,
    "WORKDIR": _workdir,
}
