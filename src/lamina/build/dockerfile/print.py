"""Printing: typed instructions become a Dockerfile's text again.

What is printed parses to the same values; where nothing that could be written does, printing refuses. Comments directly
above instructions are kept, those within and blank lines are not; keywords come out in capitals.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

from lamina.build.dockerfile import instructions as ins
from lamina.build.dockerfile.blanks import BLANKS, is_blank
from lamina.build.dockerfile.durations import format_duration
from lamina.build.dockerfile.parse import parse_instruction
from lamina.build.dockerfile.source import DockerfileError, Word

_PLAIN = re.compile(r"[^\t\n\v\f\r \"\[<]+")


def print_dockerfile(dockerfile: ins.Dockerfile) -> str:
    """Return the text of a whole file. Raises DockerfileError as `print_instruction` does."""
    escape = dockerfile.escape
    parts = [f"# {directive.name}={directive.value}\n" for directive in dockerfile.directives]
    # The empty line keeps a comment that looks like a directive from being one.
    parts.append("\n")
    parts += [_commented(arg, escape) for arg in dockerfile.arguments]
    for stage in dockerfile.stages:
        parts.append("\n" if len(parts) > 1 else "")
        parts += [_commented(instruction, escape) for instruction in (stage.base, *stage.instructions)]
    text = "".join(parts)
    return text if dockerfile.directives or text.startswith("\n#") else text.lstrip("\n")


def print_instruction(instruction: ins.Instruction, escape: str = "\\") -> str:
    """Return one instruction's text, which ends with a newline.

    Raises DockerfileError for values that no Dockerfile can express, such as a line break in a variable's value.
    """
    line, documents = _Printer(escape).line(instruction)
    # A line that ends with the escape character would go on; a form feed at its end is a blank and prevents that.
    if re.search(rf"{re.escape(escape)}[ \t]*\Z", line):
        line += "\f"
    text = line + "".join(f"\n{document.content}{document.name}" for document in documents) + "\n"
    try:
        same = parse_instruction(text, "", escape=escape) == instruction
    except DockerfileError:
        same = False
    if not same:
        reason = f"{instruction.name} with these values cannot be written in a Dockerfile"
        raise DockerfileError(instruction.source, instruction.span.start, reason)
    return text


def quoted(text: str, escape: str = "\\", *, expands: bool = False) -> str:
    """Return a word that expands to `text`, whatever characters that has but for a line break.

    With `expands`, variables in it stay such; a dollar sign that is none has the escape character before it.
    """
    if re.fullmatch(r"[A-Za-z0-9_./:@%+,=~-]+", text):
        return text
    mark = re.escape(escape)
    special = re.compile(f'"|{mark}(?!\\$)' if expands else f'["${mark}]')
    return '"' + special.sub(lambda found: escape + found.group(), text) + '"'


def _commented(instruction: ins.Instruction, escape: str) -> str:
    comments = "".join(f"# {comment}\n" for comment in instruction.comments)
    return comments + print_instruction(instruction, escape)


@dataclass(frozen=True, slots=True)
class _Printer:
    escape: str

    def line(self, instruction: ins.Instruction) -> tuple[str, tuple[ins.HereDocument, ...]]:
        """Return the first line, and the here-documents that follow it."""
        words = [instruction.name, *self._flags(instruction)]
        rest = self._rest(instruction)
        if rest.startswith("--"):
            words.append("--")
        documents = instruction.documents if isinstance(instruction, ins.Run | ins.Copy | ins.Add) else ()
        return " ".join([*words, rest]), documents

    def _flags(self, instruction: ins.Instruction) -> Iterator[str]:
        for name, value in _flag_values(instruction):
            if value is True:
                yield f"--{name}"
            elif value is False:
                yield f"--{name}=false"
            else:
                yield f"--{name}={self._flag_value(str(value))}"

    def _flag_value(self, value: str) -> str:
        special = {"'", '"', self.escape}
        if not any(is_blank(c) or c in special for c in value):
            return value
        return '"' + "".join(self.escape + c if c in ('"', self.escape) else c for c in value) + '"'

    def _rest(self, instruction: ins.Instruction) -> str:
        match instruction:
            case ins.From():
                return str(instruction.image) + (f" AS {instruction.stage}" if instruction.stage else "")
            case ins.Copy() | ins.Add():
                return self._copied(instruction)
            case ins.Healthcheck():
                return "NONE" if instruction.command is None else f"CMD {_command(instruction.command)}"
            case ins.Run() | ins.Cmd() | ins.Entrypoint():
                return _command(instruction.command)
            case ins.Env() | ins.Label():
                return " ".join(f"{pair.name}{' ' if pair.legacy else '='}{pair.value}" for pair in instruction.pairs)
            case _:
                return _simple(instruction)

    def _copied(self, instruction: ins.Copy | ins.Add) -> str:
        words = [*instruction.sources, instruction.destination]
        if not instruction.documents:
            return _listed(words)
        markers = [self._marker(document) for document in instruction.documents]
        return " ".join([*map(str, instruction.sources), *markers, str(instruction.destination)])

    def _marker(self, document: ins.HereDocument) -> str:
        # Names are read with a backslash, whatever the file's escape character is.
        name = re.sub(r"[\"'$\\]", lambda found: "\\" + found.group(), document.name)
        if not document.expands:
            name = '"' + re.sub(r"[\"$\\]", lambda found: "\\" + found.group(), document.name) + '"'
        return f"{document.descriptor or ''}<<{'-' if document.chomp else ''}{name}"


def _flag_values(instruction: ins.Instruction) -> Iterator[tuple[str, object]]:
    values: dict[str, object] = {}
    match instruction:
        case ins.From():
            values = {"platform": instruction.platform}
        case ins.Run():
            yield from (("mount", mount) for mount in instruction.mounts)
            yield from (("device", device) for device in instruction.devices)
            values["network"] = instruction.network if instruction.network != "default" else None
            values["security"] = instruction.security if instruction.security != "sandbox" else None
        case ins.Copy() | ins.Add():
            values = {"chown": instruction.chown, "chmod": instruction.chmod, "link": instruction.link or None}
            values |= _own_flags(instruction)
            yield from (("exclude", pattern) for pattern in instruction.exclude)
        case ins.Healthcheck() if instruction.command is not None:
            for name in ("interval", "timeout", "start_period", "start_interval"):
                duration: int = getattr(instruction, name)
                values[name.replace("_", "-")] = format_duration(duration) if duration else None
            values["retries"] = instruction.retries or None
    yield from ((name, value) for name, value in values.items() if value is not None)


def _own_flags(instruction: ins.Copy | ins.Add) -> dict[str, object]:
    if isinstance(instruction, ins.Copy):
        return {"from": instruction.from_, "parents": instruction.parents or None}
    return {
        "checksum": instruction.checksum,
        "keep-git-dir": instruction.keep_git_dir,
        "unpack": instruction.unpack,
    }


def _simple(instruction: ins.Instruction) -> str:
    """Return what follows the keyword of an instruction that has neither flags nor forms."""
    text = ""
    match instruction:
        case ins.Arg():
            text = " ".join(map(_declared, instruction.declarations))
        case ins.Shell():
            text = _json(instruction.words)
        case ins.Workdir():
            text = str(instruction.path)
        case ins.User():
            text = str(instruction.user)
        case ins.Volume():
            text = _listed(list(instruction.paths))
        case ins.Expose():
            text = " ".join(map(str, instruction.ports))
        case ins.Stopsignal():
            text = str(instruction.signal)
        case ins.Onbuild():
            text = instruction.trigger
        case ins.Maintainer():
            text = instruction.maintainer
    return text


def _declared(declaration: ins.Declaration) -> str:
    return str(declaration.name) if declaration.value is None else f"{declaration.name}={declaration.value}"


def _command(command: ins.CommandLine) -> str:
    return command.text if isinstance(command, ins.ShellForm) else _json(command.words)


def _listed(words: list[Word]) -> str:
    """Return words as a plain list if that means the same, else as a JSON list."""
    text = " ".join(map(str, words))
    plain = all(_PLAIN.fullmatch(word.text) for word in words) and "<<" not in text
    # More blanks are trimmed at the ends of a line than separate words.
    if plain and text == text.strip(BLANKS):
        return text
    return _json(tuple(map(str, words)))


def _json(words: tuple[str, ...]) -> str:
    return json.dumps(words, ensure_ascii=False)
