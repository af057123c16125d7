"""Build checks that need no variables: casing, empty lines, forms, descriptions."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator
from typing import TypeAlias

from lamina.build.dockerfile import rules
from lamina.build.dockerfile.instructions import (
    Arg,
    Cmd,
    CommandLine,
    Dockerfile,
    Entrypoint,
    Env,
    From,
    Healthcheck,
    Instruction,
    Label,
    Maintainer,
    Onbuild,
    Run,
    ShellForm,
    Volume,
)
from lamina.build.dockerfile.source import Position

#: Notes a finding: the rule, the instruction, the position, what is wrong, and what to write instead.
Note: TypeAlias = Callable[..., None]

_TYPOGRAPHIC = "\u2018\u2019\u201a\u201b\u201c\u201d\u201e\u201f\u00ab\u00bb\u2039\u203a"
_QUOTED = re.compile(f"[{_TYPOGRAPHIC}\"']([^{_TYPOGRAPHIC}\"']*)[{_TYPOGRAPHIC}\"']")


def all_instructions(dockerfile: Dockerfile) -> Iterator[Instruction]:
    """Yield all instructions of a file in order, those within ONBUILD not."""
    yield from dockerfile.arguments
    for stage in dockerfile.stages:
        yield stage.base
        yield from stage.instructions


def check_gaps(dockerfile: Dockerfile, note: Note) -> None:
    """Report the first empty line of each continued instruction."""
    for instruction in all_instructions(dockerfile):
        first = bisect_right(dockerfile.gaps, instruction.span.start)
        gap = dockerfile.gaps[first] if first < len(dockerfile.gaps) else instruction.span.end
        if gap < instruction.span.end:
            message = f"an empty line within {instruction.name}"
            note(rules.NO_EMPTY_CONTINUATION, instruction, gap, message, "remove it, or make it a comment with #")


def check_casing(dockerfile: Dockerfile, note: Note) -> None:
    """Report keywords that are not written like most of the others."""
    written = [instruction for instruction in all_instructions(dockerfile) if not isinstance(instruction, Arg)]
    written += [arg for stage in dockerfile.stages for arg in stage.instructions if isinstance(arg, Arg)]
    lower = sum(instruction.keyword.islower() for instruction in written)
    upper = sum(instruction.keyword.isupper() for instruction in written)
    change, kind = (str.lower, "lower case") if lower > upper else (str.upper, "capitals")
    for instruction in written:
        keyword = instruction.keyword
        if keyword != change(keyword):
            message = f"{keyword} is not written like most instructions here, in {kind}"
            note(rules.CONSISTENT_CASING, instruction, instruction.span.start, message, f"write {change(keyword)}")


def check_forms(dockerfile: Dockerfile, note: Note) -> None:
    """Report the old form of ENV and LABEL, MAINTAINER, and what was meant for a JSON list."""
    for outer in all_instructions(dockerfile):
        instruction = outer.instruction if isinstance(outer, Onbuild) else outer
        if isinstance(instruction, Env | Label) and instruction.pairs[0].legacy and instruction is outer:
            name = instruction.pairs[0].name
            hint = f'write {instruction.name} {name}="..."'
            message = f"{instruction.name} {name} with a blank before its value is the old form"
            note(rules.LEGACY_KEY_VALUE, outer, name.start, message, hint)
        elif isinstance(instruction, Maintainer):
            hint = f'write LABEL org.opencontainers.image.authors="{instruction.maintainer}"'
            note(rules.MAINTAINER, outer, outer.span.start, "MAINTAINER is deprecated", hint)
        text = _list_like(instruction)
        if text:
            _check_list(text, instruction, outer, note)


def _list_like(instruction: Instruction) -> str:
    """Return what follows the keyword where it begins like a JSON list and is none, or ""."""
    command: CommandLine | None = None
    if isinstance(instruction, Cmd | Entrypoint | Run | Healthcheck):
        command = instruction.command
    text = command.text if isinstance(command, ShellForm) else ""
    if isinstance(instruction, Volume) and instruction.paths[0].text.startswith("["):
        text = " ".join(map(str, instruction.paths))  # the list's own form would have no bracket
    # `[ -f x ] && ...` is the shell's own bracket.
    return text if re.match(rf"\[\s*[{_TYPOGRAPHIC}\"']", text) else ""


def _check_list(text: str, instruction: Instruction, outer: Instruction, note: Note) -> None:
    place = instruction.source.line(instruction.span.start.line).find("[", instruction.span.start.column - 1)
    position = Position(instruction.span.start.line, place + 1) if place >= 0 else instruction.span.start
    straight = ", ".join(
        f'"{word}"' for found in _QUOTED.finditer(text) for word in (found.group(1).split() or [found.group(1)])
    )
    hint = (
        f"did you mean {instruction.name} [{straight}]?"
        if straight and isinstance(instruction, Cmd | Entrypoint)
        else ""
    )
    if any(quote in text for quote in _TYPOGRAPHIC):
        message = f"typographic quotes: this is no JSON list, and {instruction.name} takes it for words"
        note(rules.TYPOGRAPHIC_QUOTES, outer, position, message, hint or 'use straight double quotes (")')
    else:
        message = f"this begins like a JSON list and is none, and {instruction.name} takes it for words"
        note(rules.BROKEN_JSON, outer, position, message, hint or 'a JSON list is ["a", "b"], with double quotes')


def check_descriptions(dockerfile: Dockerfile, note: Note) -> None:
    """Report a comment above ARG or FROM that does not begin with the name it stands above."""
    for instruction in all_instructions(dockerfile):
        names: list[str] = []
        if isinstance(instruction, Arg):
            names = [declaration.name.text for declaration in instruction.declarations]
        elif isinstance(instruction, From) and instruction.stage:
            names = [instruction.stage]
        if not names or not instruction.comments or instruction.comments[-1].split(" ")[0] in names:
            continue
        hint = f"begin it with {names[0]}, or part it from {instruction.name} by a line with # alone"
        message = f"the comment above {instruction.name} does not begin with {' or '.join(names)}"
        note(rules.DEFINITION_DESCRIPTION, instruction, instruction.span.start, message, hint)
