"""Here-documents: which words of a line open one, and what a RUN with them runs.

`<<NAME` and `<<-NAME`, with a number before and blanks after the `<<`. NAME may be quoted in whole or in part, which
keeps COPY and ADD from expanding the content.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeAlias

from lamina.build.dockerfile.instructions import ExecForm, HereDocument, Run, ShellForm
from lamina.build.dockerfile.source import NOWHERE, DockerfileError, Source, Word
from lamina.build.dockerfile.words import Rules, words_of

_MARKER = re.compile(r"([0-9]*)<<(-?)[\t\n\f\r ]*([^<]*)")
_NAME = Rules(keep_unset=True)
_QUOTED_NAME = Rules(keep_unset=True, raw_quotes=True)


@dataclass(frozen=True, slots=True)
class Marker:
    """What opens a here-document; see HereDocument."""

    name: str
    expands: bool
    chomp: bool
    descriptor: int


@dataclass(frozen=True, slots=True)
class Script:
    """A here-document that begins with `#!`: a file NAME with the content, to be executed by its interpreter."""

    name: str
    content: str


RunForm: TypeAlias = ShellForm | ExecForm | Script


def parse_marker(word: str) -> Marker | None:
    """Return the meaning of a word that opens a here-document, or None for any other word."""
    match = _MARKER.fullmatch(word)
    if match is None or not match.group(3):
        return None
    try:
        names = words_of(Word(match.group(3)), NOWHERE, _NAME)
        quoted = words_of(Word(match.group(3)), NOWHERE, _QUOTED_NAME)
    except DockerfileError:
        return None
    if len(names) != 1 or len(quoted) != 1:
        return None
    return Marker(
        name=names[0],
        # A quote that is gone was one; a quote that was escaped is still there.
        expands=_quotes(names[0]) == _quotes(quoted[0]),
        chomp=match.group(2) == "-",
        descriptor=int(match.group(1)[:9] or 0),
    )


def _quotes(text: str) -> int:
    return text.count("'") + text.count('"')


def find_markers(line: Word, source: Source) -> list[tuple[Marker, int]]:
    """Return what opens here-documents in a whole line, in order, each with the offset of its word.

    There is none where the line's quotes do not match up.
    """
    if "<<" not in line.text:
        return []
    try:
        words = words_of(line, source)
    except DockerfileError:
        return []  # the shell that gets the line will have its own opinion
    markers: list[tuple[Marker, int]] = []
    at = 0
    for word in words:
        # Taken apart as written: each word stands in the line as it is.
        at = max(at, line.text.find(word, at))
        if marker := parse_marker(word):
            markers.append((marker, at))
        at += len(word)
    return markers


def run_form(run: Run) -> RunForm:
    """Return what a RUN executes, its here-documents put in place.

    A document alone is a script for the stage's shell, or for its own interpreter if it begins with `#!`; with other
    words around it, the shell gets the command followed by the documents as they were written.
    """
    if not run.documents or isinstance(run.command, ExecForm):
        return run.command
    first = run.documents[0]
    if parse_marker(run.command.text) is None:
        return ShellForm(run.command.text + documents_text(run.documents))
    return Script(first.name, first.text) if first.text.startswith("#!") else ShellForm(first.text)


def documents_text(documents: tuple[HereDocument, ...]) -> str:
    """Return the lines of `documents` and their closing names, a newline before each."""
    return "".join(f"\n{document.content}{document.name}" for document in documents)
