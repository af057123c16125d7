"""From a split line to a typed instruction: one function for each kind, and what each of them expects."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from lamina.build.dockerfile import instructions as ins
from lamina.build.dockerfile.blanks import BLANKS, PLAIN_WORD
from lamina.build.dockerfile.healthcheck import make_healthcheck
from lamina.build.dockerfile.heredoc import documents_text, parse_marker
from lamina.build.dockerfile.mounts import check_mount
from lamina.build.dockerfile.source import Position, Word, did_you_mean
from lamina.build.dockerfile.split import plain_words, quoted_words, split_line
from lamina.build.dockerfile.statement import Statement

_STAGE_NAME = re.compile(r"[a-z][a-z0-9_.-]*")
_NO_TRIGGERS = {"ONBUILD", "FROM", "MAINTAINER"}
_NOT_UTF8 = re.compile("[\ud800-\udfff]")


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
    command = statement.command(statement.rest)
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
    listed = statement.listed(statement.rest)
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
    return ins.Cmd(statement.command(statement.rest), **statement.common)


def _entrypoint(statement: Statement) -> ins.Entrypoint:
    statement.refuse_flags()
    return ins.Entrypoint(statement.command(statement.rest), **statement.common)


def _shell(statement: Statement) -> ins.Shell:
    statement.refuse_flags()
    listed = statement.listed(statement.one('a JSON list like ["/bin/bash", "-c"]'))
    if not listed:
        statement.fail(statement.rest.start, 'SHELL needs a JSON list like ["/bin/bash", "-c"]')
    return ins.Shell(tuple(word.text for word in listed), **statement.common)


def _workdir(statement: Statement) -> ins.Workdir:
    statement.refuse_flags()
    return ins.Workdir(statement.one("a path"), **statement.common)


def _user(statement: Statement) -> ins.User:
    statement.refuse_flags()
    return ins.User(statement.one("a user: a name or number, and optionally a group after a colon"), **statement.common)


def _volume(statement: Statement) -> ins.Volume:
    statement.refuse_flags()
    listed = statement.listed(statement.rest)
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
    return ins.Stopsignal(statement.one("a signal, by name or number"), **statement.common)


def _maintainer(statement: Statement) -> ins.Maintainer:
    statement.refuse_flags()
    return ins.Maintainer(statement.one("a name").text, **statement.common)


def _onbuild(statement: Statement) -> ins.Onbuild:
    statement.refuse_flags()
    rest = statement.one("an instruction")
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
    "HEALTHCHECK": make_healthcheck,
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
