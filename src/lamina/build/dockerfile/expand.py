"""Expanding an instruction: quotes and variables in the fields that have them, and in no others.

    filled = Expander(variables, escape=dockerfile.escape).instruction(copy)

Expanded are: ADD and COPY (sources, destination, --chown, --chmod, --checksum, and here-documents whose name is not
quoted), ENV and LABEL (names and values), EXPOSE, STOPSIGNAL, USER, VOLUME, WORKDIR, the values of RUN's --mount. FROM
expands with the global arguments, ARG as `arguments` has it. All others are taken as they are: the command of RUN, CMD
and ENTRYPOINT belongs to the shell.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from lamina.build.dockerfile.instructions import (
    Add,
    Copy,
    Env,
    Expose,
    From,
    HereDocument,
    Instruction,
    Label,
    Run,
    Stopsignal,
    User,
    Volume,
    Workdir,
)
from lamina.build.dockerfile.mounts import Mount, parse_mount
from lamina.build.dockerfile.ports import BadPort, parse_ports
from lamina.build.dockerfile.signals import is_signal, signal_names
from lamina.build.dockerfile.source import DockerfileError, Position, Source, Word, did_you_mean
from lamina.build.dockerfile.words import Expansion, Rules, expand_word

_Kind = TypeVar("_Kind", bound=Instruction)


class Expander:
    """Fills in the values of `variables`; `escape` is the file's escape character.

    `used` collects the names of the variables that were asked for and found; `missing` those that were not, each with
    the place that asked first. All methods raise DockerfileError at what cannot be read, and at a value that cannot be:
    an empty image or volume, an unknown signal.
    """

    def __init__(self, variables: Mapping[str, str], *, escape: str = "\\") -> None:
        self._variables = variables
        self._rules = Rules(escape)
        self.used: set[str] = set()
        self.missing: dict[str, Position] = {}

    def instruction(self, instruction: _Kind) -> _Kind:
        """Return the instruction with its words expanded; itself, where it has none that are."""
        changes = self._changes(instruction)
        return replace(instruction, **changes) if changes else instruction

    def word(self, word: Word, source: Source) -> Word:
        """Return a word expanded."""
        return word.replaced(self._expand(word, source).text)

    def words(self, word: Word, source: Source) -> list[Word]:
        """Return the words that a word becomes: a variable's blanks split it where they are not quoted."""
        return [word.replaced(text) for text in self._expand(word, source).words]

    def mounts(self, run: Run) -> tuple[Mount, ...]:
        """Return the meaning of a RUN's --mount flags."""
        return tuple(
            parse_mount(text, lambda value: self.word(value, run.source).text, run.source) for text in run.mounts
        )

    @staticmethod
    def ports(expose: Expose) -> tuple[str, ...]:
        """Return the ports of an EXPOSE that is expanded, as an image's config names them: "80/tcp"."""
        names: list[str] = []
        for word in expose.ports:
            try:
                names += parse_ports(word.text).names
            except BadPort as error:
                raise DockerfileError(expose.source, word.start, f"{word}: {error}") from error
        return tuple(names)

    def add(self, used: Iterable[str], missing: Mapping[str, Position]) -> None:
        """Count variables that were asked for elsewhere as asked for here."""
        self.used.update(used)
        self.missing = {**missing, **self.missing}

    def _changes(self, instruction: Instruction) -> dict[str, Any]:
        """Return the fields that change, by name."""
        changes: dict[str, Any] = {}
        source = instruction.source
        match instruction:
            case From():
                platform = self._optional(instruction.platform, source)
                changes = {"image": self._filled(instruction.image, source, "an image"), "platform": platform}
            case Env() | Label():
                pairs = (
                    replace(pair, name=self.word(pair.name, source), value=self.word(pair.value, source))
                    for pair in instruction.pairs
                )
                changes = {"pairs": tuple(pairs)}
            case Copy() | Add():
                changes = self._copied(instruction)
            case Expose():
                # The order of the texts as they are written, as in the history that the reference implementation makes.
                written = sorted(instruction.ports, key=str)
                words = (word for port in written for word in self.words(port, source))
                changes = {"ports": tuple(words)}
            case Volume():
                changes = {"paths": tuple(self._filled(path, source, "a path") for path in instruction.paths)}
            case Stopsignal():
                changes = {"signal": self._signal(instruction.signal, source)}
            case User():
                changes = {"user": self.word(instruction.user, source)}
            case Workdir():
                changes = {"path": self.word(instruction.path, source)}
        return changes

    def _copied(self, instruction: Copy | Add) -> dict[str, Any]:
        source = instruction.source
        changes: dict[str, Any] = {
            "sources": tuple(self.word(word, source) for word in instruction.sources),
            "destination": self.word(instruction.destination, source),
            "documents": tuple(self._document(document, source) for document in instruction.documents),
            "chown": self._optional(instruction.chown, source),
            "chmod": self._optional(instruction.chmod, source),
        }
        if isinstance(instruction, Add):
            changes["checksum"] = self._optional(instruction.checksum, source)
        return changes

    def _document(self, document: HereDocument, source: Source) -> HereDocument:
        if not document.expands:
            return document
        # The file's own escape character has no meaning in a document, and neither have quotes.
        expansion = expand_word(_document_word(document), self._variables, source, Rules("\\", quotes=False))
        self._note(expansion)
        return replace(document, content=expansion.text, chomp=False)

    def _filled(self, word: Word, source: Source, what: str) -> Word:
        filled = self.word(word, source)
        if not filled.text:
            raise DockerfileError(source, word.start, f"{word} is empty: expected {what}")
        return filled

    def _signal(self, word: Word, source: Source) -> Word:
        filled = self.word(word, source)
        if not is_signal(filled.text):
            hint = did_you_mean(filled.text, signal_names())
            raise DockerfileError(source, word.start, f"{filled} is no signal: expected a name or a number", hint)
        return filled

    def _optional(self, word: Word | None, source: Source) -> Word | None:
        return None if word is None else self.word(word, source)

    def _expand(self, word: Word, source: Source) -> Expansion:
        return self._note(expand_word(word, self._variables, source, self._rules))

    def _note(self, expansion: Expansion) -> Expansion:
        self.add(expansion.used, expansion.missing)
        return expansion


def _document_word(document: HereDocument) -> Word:
    """Return a here-document's text, its leading tabs gone, each line with its place."""
    marks: list[tuple[int, Position]] = []
    length = 0
    first = document.span.start.line
    for number, line in enumerate(document.content.split("\n")):
        text = line.lstrip("\t") if document.chomp else line
        marks.append((length, Position(first + number, len(line) - len(text) + 1)))
        length += len(text) + 1
    return Word(document.text, tuple(marks))
