"""From a split line to a typed instruction: one function for each kind, and what each of them expects."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn, TypedDict

from lamina.build.dockerfile import instructions as ins
from lamina.build.dockerfile.blanks import BLANKS, PLAIN_WORD
from lamina.build.dockerfile.durations import parse_duration
from lamina.build.dockerfile.flags import Flags
from lamina.build.dockerfile.heredoc import documents_text, parse_marker
from lamina.build.dockerfile.mounts import check_mount
from lamina.build.dockerfile.source import DockerfileError, Position, Source, Span, Word, did_you_mean
from lamina.build.dockerfile.split import NotStrings, Parts, json_words, plain_words, quoted_words, split_line

_STAGE_NAME = re.compile(r"[a-z][a-z0-9_.-]*")
_SHORTEST = 10**6  # a millisecond: what a health check can be told to wait at least
_NO_TRIGGERS = {"ONBUILD", "FROM", "MAINTAINER"}
_NOT_UTF8 = re.compile("[\ud800-\udfff]")


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


def is_instruction(name: str) -> bool:
    """Tell whether `name`, in any case, is an instruction's."""
    return name.upper() in _MAKERS


def make_instruction(statement: Statement) -> ins.Instruction:
    """Return the instruction that a statement is. Raises DockerfileError at what is wrong with it."""
    maker = _MAKERS.get(statement.name)
    if maker is None:
        keyword = statement.parts.keyword
        hint = did_you_mean(keyword.text, _MAKERS)
        if not keyword.text.isalpha():
            hint = f"if the line before goes on here, it has to end with {statement.escape}"
        statement.fail(keyword.start, f"unknown instruction {keyword}", hint)
    if found := _NOT_UTF8.search(statement.line.text):
        statement.fail(statement.line.position(found.start()), "a byte that is not UTF-8")
    return maker(statement)


def _one(statement: Statement, what: str) -> Word:
    return statement.rest if statement.rest.text else statement.needs(what)


def _list(statement: Statement, rest: Word) -> list[Word] | None:
    try:
        return json_words(rest)
    except NotStrings as error:
        position = rest.position(error.offset)
        statement.fail(position, "the JSON list holds something that is no text: expected texts in double quotes")


def _command(statement: Statement, rest: Word) -> ins.CommandLine:
    if not rest.text:
        statement.needs('a command: words for the shell, or a JSON list like ["program", "argument"]')
    listed = _list(statement, rest)
    return ins.ShellForm(rest.text) if listed is None else ins.ExecForm(tuple(word.text for word in listed))


def _from(statement: Statement) -> ins.From:
    words = plain_words(statement.rest)
    platform = statement.flags.text("platform")
    if not words:
        statement.needs("an image")
    if len(words) == 1:
        return ins.From(image=words[0], platform=platform, **statement.common)
    if words[1].text.upper() != "AS":
        statement.fail(words[1].start, f"{words[1]} after the image: expected AS and a name, or the end of the line")
    if len(words) == 2:
        statement.needs("a name after AS")
    if len(words) > 3:
        statement.fail(words[3].start, f"{words[3]} after the stage's name: expected the end of the line")
    stage = words[2].text.lower()
    if not _STAGE_NAME.fullmatch(stage):
        statement.fail(
            words[2].start, f"{words[2]} is no name for a stage: expected a letter, then letters, digits, _ . and -"
        )
    return ins.From(words[0], platform, stage, stage_word=words[2], as_word=words[1], **statement.common)


def _pairs(statement: Statement) -> tuple[ins.Pair, ...]:
    statement.refuse_flags()
    rest = statement.rest
    words = quoted_words(rest, statement.escape)
    if not words:
        statement.needs("NAME=VALUE")
    if "=" not in words[0].text:
        return (_legacy_pair(statement, rest),)
    return tuple(_pair(statement, word) for word in words)


def _legacy_pair(statement: Statement, rest: Word) -> ins.Pair:
    first = PLAIN_WORD.match(rest.text)
    end = first.end() if first else 0
    start = len(rest.text) - len(rest.text[end:].lstrip("\t\v\f\r "))
    if not end or start >= len(rest.text):
        statement.needs(f"a value: expected {statement.name} NAME=VALUE")
    return ins.Pair(rest.part(0, end), rest.part(start, len(rest.text)), legacy=True)


def _pair(statement: Statement, word: Word) -> ins.Pair:
    name, equals, _ = word.text.partition("=")
    if not equals:
        hint = "a value with blanks is put in double quotes"
        statement.fail(word.start, f"{word} is not NAME=VALUE", hint)
    if not name:
        statement.fail(word.start, f"{word} has no name before the =")
    return ins.Pair(word.part(0, len(name)), word.part(len(name) + 1, len(word.text)))


def _arg(statement: Statement) -> ins.Arg:
    statement.refuse_flags()
    words = quoted_words(statement.rest, statement.escape)
    if not words:
        statement.needs("a name: expected ARG NAME or ARG NAME=DEFAULT")
    return ins.Arg(tuple(_declaration(statement, word) for word in words), **statement.common)


def _declaration(statement: Statement, word: Word) -> ins.Declaration:
    if "=" not in word.text:
        return ins.Declaration(word)
    pair = _pair(statement, word)
    return ins.Declaration(pair.name, pair.value)


def _run(statement: Statement) -> ins.Run:
    flags = statement.flags
    mounts = flags.texts("mount")
    for mount in mounts:
        check_mount(mount, statement.source, statement.escape)
    command = _command(statement, statement.rest)
    if command == ins.ExecForm(()):
        statement.fail(statement.rest.start, "RUN needs a command: the list is empty")
    for document in statement.documents:
        if found := _NOT_UTF8.search(document.content):
            line = document.content.count("\n", 0, found.start())
            column = found.start() - document.content.rfind("\n", 0, found.start())
            statement.fail(Position(document.span.start.line + line, column), "a byte that is not UTF-8")
    return ins.Run(
        command,
        documents=statement.documents,
        mounts=mounts,
        network=flags.choice("network", ("default", "none", "host")),
        security=flags.choice("security", ("sandbox", "insecure")),
        devices=tuple(word.text for word in flags.texts("device")),
        **statement.common,
    )


def _paths(statement: Statement) -> tuple[tuple[Word, ...], Word]:
    """Return the sources that are no here-documents, and the destination."""
    listed = _list(statement, statement.rest)
    words = plain_words(statement.rest) if listed is None else listed
    if len(words) < 2:
        statement.needs("a source and a destination" if not words else "a destination after its source")
    *sources, destination = words
    if listed is not None:
        return tuple(sources), destination
    if parse_marker(destination.text):
        statement.fail(destination.start, f"{statement.name} cannot take a here-document as its destination")
    plain = [word for word in sources if parse_marker(word.text) is None]
    if len(sources) - len(plain) != len(statement.documents):
        broken = next((word for word in sources if "<<" in word.text), sources[0])
        hint = f"{statement.name} takes <<NAME as one word, NAME without blanks"
        statement.fail(broken.start, "this here-document cannot be read", hint)
    return tuple(plain), destination


def _copy(statement: Statement) -> ins.Copy:
    flags = statement.flags
    sources, destination = _paths(statement)
    from_ = flags.text("from")
    if from_ is not None and any(c in from_.text for c in "$'\"" + statement.escape):
        hint = "name a stage for it: FROM with the variable, AS a name, and --from with that name"
        statement.fail(from_.start, f"--from={from_}: variables are not replaced here", hint)
    return ins.Copy(
        sources,
        destination,
        documents=statement.documents,
        from_=from_ if from_ is not None and from_.text else None,
        chown=flags.text("chown"),
        chmod=flags.text("chmod"),
        link=bool(flags.boolean("link")),
        parents=bool(flags.boolean("parents")),
        exclude=tuple(word.text for word in flags.texts("exclude")),
        **statement.common,
    )


def _add(statement: Statement) -> ins.Add:
    flags = statement.flags
    sources, destination = _paths(statement)
    return ins.Add(
        sources,
        destination,
        documents=statement.documents,
        chown=flags.text("chown"),
        chmod=flags.text("chmod"),
        checksum=flags.text("checksum"),
        link=bool(flags.boolean("link")),
        keep_git_dir=flags.boolean("keep-git-dir"),
        unpack=flags.boolean("unpack"),
        exclude=tuple(word.text for word in flags.texts("exclude")),
        **statement.common,
    )


def _env(statement: Statement) -> ins.Env:
    return ins.Env(_pairs(statement), **statement.common)


def _label(statement: Statement) -> ins.Label:
    return ins.Label(_pairs(statement), **statement.common)


def _cmd(statement: Statement) -> ins.Cmd:
    statement.refuse_flags()
    return ins.Cmd(_command(statement, statement.rest), **statement.common)


def _entrypoint(statement: Statement) -> ins.Entrypoint:
    statement.refuse_flags()
    return ins.Entrypoint(_command(statement, statement.rest), **statement.common)


def _shell(statement: Statement) -> ins.Shell:
    statement.refuse_flags()
    listed = _list(statement, _one(statement, 'a JSON list like ["/bin/bash", "-c"]'))
    if not listed:
        statement.fail(statement.rest.start, 'SHELL needs a JSON list like ["/bin/bash", "-c"]')
    return ins.Shell(tuple(word.text for word in listed), **statement.common)


def _workdir(statement: Statement) -> ins.Workdir:
    statement.refuse_flags()
    return ins.Workdir(_one(statement, "a path"), **statement.common)


def _user(statement: Statement) -> ins.User:
    statement.refuse_flags()
    return ins.User(
        _one(statement, "a user: a name or number, and optionally a group after a colon"), **statement.common
    )


def _volume(statement: Statement) -> ins.Volume:
    statement.refuse_flags()
    listed = _list(statement, statement.rest)
    words = plain_words(statement.rest) if listed is None else listed
    if not words:
        statement.needs("a path")
    paths = [word.replaced(word.text.strip(BLANKS)) if word.text.strip(BLANKS) != word.text else word for word in words]
    for path in paths:
        if not path.text:
            statement.fail(path.start, "an empty text: expected a path")
    return ins.Volume(tuple(paths), **statement.common)


def _expose(statement: Statement) -> ins.Expose:
    statement.refuse_flags()
    words = plain_words(statement.rest)
    return ins.Expose(tuple(words) if words else statement.needs("a port"), **statement.common)


def _stopsignal(statement: Statement) -> ins.Stopsignal:
    statement.refuse_flags()
    return ins.Stopsignal(_one(statement, "a signal, by name or number"), **statement.common)


def _maintainer(statement: Statement) -> ins.Maintainer:
    statement.refuse_flags()
    return ins.Maintainer(_one(statement, "a name").text, **statement.common)


def _healthcheck(statement: Statement) -> ins.Healthcheck:
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
    line = _command(statement, command)
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


def _onbuild(statement: Statement) -> ins.Onbuild:
    statement.refuse_flags()
    rest = _one(statement, "an instruction")
    parts = split_line(rest, statement.escape)
    inner = Statement(rest, parts, statement.documents, statement.escape, statement.source, statement.end, ())
    if inner.name in _NO_TRIGGERS:
        statement.fail(parts.keyword.start, f"{inner.name} is not allowed after ONBUILD")
    # The config keeps the text as it is, blanks at its end included.
    line = statement.line.text
    text = line[line.index(rest.text, len(statement.parts.keyword.text)) :]
    trigger = text + documents_text(statement.documents)
    return ins.Onbuild(trigger, make_instruction(inner), **statement.common)


_MAKERS: Mapping[str, Callable[[Statement], ins.Instruction]] = {
    "ADD": _add,
    "ARG": _arg,
    "CMD": _cmd,
    "COPY": _copy,
    "ENTRYPOINT": _entrypoint,
    "ENV": _env,
    "EXPOSE": _expose,
    "FROM": _from,
    "HEALTHCHECK": _healthcheck,
    "LABEL": _label,
    "MAINTAINER": _maintainer,
    "ONBUILD": _onbuild,
    "RUN": _run,
    "SHELL": _shell,
    "STOPSIGNAL": _stopsignal,
    "USER": _user,
    "VOLUME": _volume,
    "WORKDIR": _workdir,
}
#: The names of all instructions.
NAMES: Sequence[str] = tuple(_MAKERS)
