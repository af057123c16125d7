"""Parsing: a Dockerfile's text becomes stages of typed instructions.

    dockerfile = parse(data, "Dockerfile")

The only error is DockerfileError, with the position of what is wrong.
"""

from __future__ import annotations

from lamina.build.dockerfile.blanks import BLANKS
from lamina.build.dockerfile.heredoc import find_markers
from lamina.build.dockerfile.instructions import (
    Arg,
    Dockerfile,
    From,
    HereDocument,
    Instruction,
    Stage,
)
from lamina.build.dockerfile.lex import Lexer, LogicalLine
from lamina.build.dockerfile.source import START, DockerfileError, Position, Word
from lamina.build.dockerfile.split import NotStrings, Parts, json_words, split_line
from lamina.build.dockerfile.statement import Statement
from lamina.build.dockerfile.typed import make_instruction

_TAKE_DOCUMENTS = ("ADD", "COPY", "RUN")
_MOST = 100_000  # instructions: beyond what people and programs write, and read within seconds


def parse(data: bytes | str, name: str = "Dockerfile") -> Dockerfile:
    """Return what a Dockerfile says; `name` is what messages call it. Raises DockerfileError."""
    reader = _Reader(data, name)
    arguments: list[Arg] = []
    stages: list[tuple[From, list[Instruction]]] = []
    while instruction := reader.next():
        if isinstance(instruction, From):
            stages.append((instruction, []))
        elif stages:
            stages[-1][1].append(instruction)
        elif isinstance(instruction, Arg):
            arguments.append(instruction)
        else:
            reason = f"{instruction.name} before the first FROM: expected FROM, or ARG for its variables"
            raise DockerfileError(reader.lexer.source, instruction.span.start, reason)
    if not stages:
        reason = "ARG alone: expected a FROM after it" if arguments else "no instructions: expected a FROM"
        raise DockerfileError(reader.lexer.source, reader.lexer.last if arguments else START, reason)
    return Dockerfile(
        arguments=tuple(arguments),
        stages=tuple(Stage(index, base, tuple(inner)) for index, (base, inner) in enumerate(stages)),
        directives=reader.lexer.directives,
        source=reader.lexer.source,
        gaps=tuple(reader.gaps),
    )


def parse_instruction(text: str, name: str, *, escape: str = "\\") -> Instruction:
    """Return the one instruction that `text` is, here-documents included. Raises DockerfileError."""
    reader = _Reader(text, name, escape)
    instruction = reader.next()
    if instruction is None:
        raise DockerfileError(reader.lexer.source, START, "nothing: expected an instruction")
    following = reader.next()
    if following is not None:
        raise DockerfileError(reader.lexer.source, following.span.start, "a second instruction: expected one alone")
    return instruction


def parse_trigger(text: str, name: str) -> Instruction:
    """Return the instruction that an image's OnBuild entry is; `name` is what messages call it.

    Raises DockerfileError, also for more than one instruction and for a FROM.
    """
    instruction = parse_instruction(text, name)
    if isinstance(instruction, From):
        raise DockerfileError(instruction.source, instruction.span.start, "FROM is not allowed after ONBUILD")
    return instruction


class _Reader:
    """Reads one instruction after the other."""

    def __init__(self, data: bytes | str, name: str, escape: str | None = None) -> None:
        self.lexer = Lexer(data, name, escape)
        self.gaps: list[Position] = []
        self._count = 0

    def next(self) -> Instruction | None:
        while line := self.lexer.line():
            self.gaps += line.gaps
            if line.word.text.strip(BLANKS):
                self._count += 1
                if self._count > _MOST:
                    reason = f"more than {_MOST} instructions"
                    raise DockerfileError(self.lexer.source, line.word.position(0), reason)
                return make_instruction(self._statement(line))
        return None

    def _statement(self, line: LogicalLine) -> Statement:
        parts = split_line(line.word, self.lexer.escape)
        documents = self._documents(line.word, parts)
        end = documents[-1].span.end if documents else line.end
        return Statement(line.word, parts, documents, self.lexer.escape, self.lexer.source, end, line.comments)

    def _documents(self, word: Word, parts: Parts) -> tuple[HereDocument, ...]:
        if parts.keyword.text.upper() == "ONBUILD":
            parts = split_line(parts.rest, self.lexer.escape)
        if parts.keyword.text.upper() not in _TAKE_DOCUMENTS or _is_json(parts.rest):
            return ()
        found = []
        for marker, at in find_markers(word, self.lexer.source):
            content, span = self.lexer.document(marker.name, chomp=marker.chomp, opened=word.position(at))
            found.append(HereDocument(marker.name, content, marker.expands, marker.chomp, marker.descriptor, span))
        return tuple(found)


def _is_json(rest: Word) -> bool:
    try:
        return json_words(rest) is not None
    except NotStrings:
        return True
