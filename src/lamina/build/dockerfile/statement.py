"""A statement: one instruction as the lexer found it, taken apart, before it is known what it means."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn, TypedDict

from lamina.build.dockerfile import instructions as ins
from lamina.build.dockerfile.blanks import BLANKS
from lamina.build.dockerfile.flags import Flags
from lamina.build.dockerfile.source import DockerfileError, Position, Source, Span, Word
from lamina.build.dockerfile.split import NotStrings, Parts, json_words


class Common(TypedDict):
    """The fields that all instructions have."""

    text: str
    keyword: str
    span: Span
    source: Source
    comments: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Statement:
    """One instruction as the lexer found it, and its parts. `line` begins with the keyword."""

    line: Word
    parts: Parts
    documents: tuple[ins.HereDocument, ...]
    escape: str
    source: Source
    end: Position
    comments: tuple[str, ...]

    @property
    def name(self) -> str:
        """The instruction's name in capitals."""
        return self.parts.keyword.text.upper()

    @property
    def rest(self) -> Word:
        """What follows keyword and flags."""
        return self.parts.rest

    @property
    def common(self) -> Common:
        """The fields that any instruction made of this has."""
        return Common(
            text=self.line.text.strip(BLANKS),
            keyword=self.parts.keyword.text,
            span=Span(self.line.start, self.end),
            source=self.source,
            comments=self.comments,
        )

    @property
    def flags(self) -> Flags:
        """The flags, checked for being ones that this instruction has."""
        return Flags(self.name, self.parts.flags, self.source)

    def refuse_flags(self) -> None:
        """Refuse all flags: for an instruction that has none."""
        Flags(self.name, self.parts.flags, self.source)

    def fail(self, position: Position, reason: str, hint: str = "") -> NoReturn:
        """Refuse the file."""
        raise DockerfileError(self.source, position, reason, hint)

    def needs(self, what: str) -> NoReturn:
        """Refuse an instruction that lacks something at its end."""
        self.fail(self.line.position(len(self.line.text.rstrip(BLANKS))), f"{self.name} needs {what}")

    def one(self, what: str) -> Word:
        """Return what follows, which must be something."""
        return self.rest if self.rest.text else self.needs(what)

    def listed(self, rest: Word) -> list[Word] | None:
        """Return the texts of a JSON list, or None for what is none."""
        try:
            return json_words(rest)
        except NotStrings as error:
            position = rest.position(error.offset)
            self.fail(position, "the JSON list holds something that is no text: expected texts in double quotes")

    def command(self, rest: Word) -> ins.CommandLine:
        """Return a command line in either form."""
        if not rest.text:
            self.needs('a command: words for the shell, or a JSON list like ["program", "argument"]')
        listed = self.listed(rest)
        return ins.ShellForm(rest.text) if listed is None else ins.ExecForm(tuple(word.text for word in listed))
