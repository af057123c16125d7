"""HEALTHCHECK, the instruction with a language of its own: NONE, or flags, CMD and a command."""

from __future__ import annotations

import re

from lamina.build.dockerfile import instructions as ins
from lamina.build.dockerfile.blanks import BLANKS
from lamina.build.dockerfile.durations import parse_duration
from lamina.build.dockerfile.flags import Flags
from lamina.build.dockerfile.source import did_you_mean
from lamina.build.dockerfile.statement import Statement

_SHORTEST = 10**6  # a millisecond: what a health check can be told to wait at least


def make_healthcheck(statement: Statement) -> ins.Healthcheck:
    """Return the instruction that a statement is. Raises DockerfileError at what is wrong with it."""
    flags = statement.flags
    rest = statement.rest
    kind = re.match(f"[^{BLANKS}]*", rest.text)
    end = kind.end() if kind else 0
    if not end:
        statement.needs("CMD and a command, or NONE")
    first = rest.part(0, end)
    start = len(rest.text) - len(rest.text[end:].lstrip(BLANKS))
    command = rest.part(start, len(rest.text))
    if first.text.upper() == "NONE":
        if command.text:
            statement.fail(command.start, f"{command} after NONE: expected the end of the line")
        return ins.Healthcheck(None, **statement.common)
    if first.text.upper() != "CMD":
        hint = did_you_mean(first.text, ("CMD", "NONE")) or "put CMD before the command"
        statement.fail(first.start, f"{first} after HEALTHCHECK: expected CMD or NONE", hint)
    line = statement.command(command)
    if line == ins.ExecForm(()):
        statement.fail(command.start, "HEALTHCHECK CMD needs a command: the list is empty")
    return ins.Healthcheck(
        line,
        interval=_duration(statement, flags, "interval"),
        timeout=_duration(statement, flags, "timeout"),
        start_period=_duration(statement, flags, "start-period"),
        start_interval=_duration(statement, flags, "start-interval"),
        retries=_retries(statement, flags),
        **statement.common,
    )


def _duration(statement: Statement, flags: Flags, name: str) -> int:
    word = flags.text(name)
    if word is None or not word.text:
        return 0
    duration = parse_duration(word.text)
    if duration is None:
        statement.fail(word.start, f"--{name}={word} is no duration: expected one like 30s, 1m30s or 500ms")
    if duration and duration < _SHORTEST:
        statement.fail(word.start, f"--{name}={word}: expected at least 1ms, or 0 for the default")
    return duration


def _retries(statement: Statement, flags: Flags) -> int:
    word = flags.text("retries")
    if word is None or not word.text:
        return 0
    if not re.fullmatch(r"\+?[0-9]{1,10}", word.text) or int(word.text) >= 2**31:
        statement.fail(word.start, f"--retries={word}: expected a number, 0 or more")
    return int(word.text)
