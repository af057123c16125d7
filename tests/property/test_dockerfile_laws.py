"""What is parsed prints and parses again as the same; anything else is a DockerfileError with a place in the file."""

from __future__ import annotations

import contextlib
import json
import re

from hypothesis import example, given
from hypothesis import strategies as st

from lamina.build.dockerfile.check import check
from lamina.build.dockerfile.durations import format_duration, parse_duration
from lamina.build.dockerfile.expand import Expander
from lamina.build.dockerfile.ignore import IgnoreMatcher, Matched, parse_ignore
from lamina.build.dockerfile.instructions import Dockerfile, Env, Pair
from lamina.build.dockerfile.modes import parse_mode
from lamina.build.dockerfile.mounts import parse_mount
from lamina.build.dockerfile.parse import parse, parse_trigger
from lamina.build.dockerfile.patterns import BadPattern, parse_pattern, replace, without_prefix, without_suffix
from lamina.build.dockerfile.ports import BadPort, parse_ports
from lamina.build.dockerfile.positions import DIRECTORIES, NAME, REST, path_matcher
from lamina.build.dockerfile.print import print_dockerfile, print_instruction, quoted
from lamina.build.dockerfile.source import NOWHERE, DockerfileError, Word
from lamina.build.dockerfile.words import Rules, expand_word

_NAMES = "ADD ARG CMD COPY ENTRYPOINT ENV EXPOSE FROM HEALTHCHECK LABEL MAINTAINER ONBUILD RUN SHELL STOPSIGNAL USER"
_KEYWORDS = [*_NAMES.split(), "VOLUME", "WORKDIR", "from", "run"]
_PIECES_TEXT = (
    "a b a=b name=value x$y ${v} ${v:-w} ${v#*/} ${v//a/b} 'q r' \"q r\" \\ \\\\ ` # -- --from=x --chown=a:b --link <"
    " --mount=type=cache,target=/x --exclude=*.py --chmod=u+x --interval=5s --platform=linux/amd64 --network=none <<EOF"
    ' <<-\'EOF\' <<A <<B EOF A B ["a","b"] ["a [1] {} CMD NONE AS RUN COPY /dest/ . 80/tcp é \u2018x\u2019 $ ${'
)
_PIECES = [*_PIECES_TEXT.split(" "), "\u00a0", "\\\n"]
_text = st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\0"), max_size=30)
_line = st.builds(
    lambda keyword, pieces: " ".join([keyword, *pieces]), st.sampled_from(_KEYWORDS), st.lists(st.sampled_from(_PIECES))
)
# Lines that are mostly in order, so that files with several of them get through.
_word = st.sampled_from(
    ["a", "b/c", "x$y", "${v}", "${v:-w}", "'q'", '"q"', "\\x", "`y", "=", "é", "[z", "\u2018x\u2019", "d-"]
)
_phrase = st.lists(_word, min_size=1, max_size=4).map(" ".join)
_paths_of_copy = st.lists(_word, min_size=2, max_size=4)
_flag = st.sampled_from(["--link", "--link=false", "--chown=a:b", "--chmod=u+x", '--exclude="a b"', "--exclude=*.py"])
_command = _phrase | st.lists(_text, min_size=1, max_size=3).map(lambda words: json.dumps(words, ensure_ascii=False))
_pairs = st.lists(st.builds("{}={}".format, st.sampled_from(["n", "v", "y"]), _word), min_size=1, max_size=3).map(
    " ".join
)
_documents = st.sampled_from(["<<E /x{0}\tone $v{0}E", "<<-'E' <<F /x{0}\ta{0}\tE{0}b{0}F", '<<"E.txt" a /{0}{0}E.txt'])
_valid = st.one_of(
    st.builds(
        "{} {}".format, st.sampled_from(["RUN", "CMD", "ENTRYPOINT", "HEALTHCHECK CMD", "onbuild run"]), _command
    ),
    st.builds(
        "{} {}".format, st.sampled_from(["USER", "WORKDIR", "MAINTAINER", "STOPSIGNAL", "EXPOSE", "VOLUME"]), _phrase
    ),
    st.builds("{} {}".format, st.sampled_from(["ENV", "LABEL", "ARG", "ONBUILD ENV"]), _pairs),
    st.builds("ENV {} {}".format, st.sampled_from(["n", "v"]), _phrase),
    st.builds(
        lambda flags, words: " ".join(["COPY", *flags, *words]),
        st.lists(_flag, max_size=2, unique=True),
        _paths_of_copy,
    ),
    st.builds(lambda words: "ADD " + json.dumps(words, ensure_ascii=False), st.lists(_text, min_size=2, max_size=3)),
    st.builds(lambda keyword, text: keyword + text.format("\n"), st.sampled_from(["COPY ", "ADD --link "]), _documents),
    st.builds(
        "FROM {} AS {}".format, st.sampled_from(["base", "debian:$v", "--platform=$y a"]), st.sampled_from("stu")
    ),
    st.sampled_from(
        ["RUN <<E\n\techo $v\nE", "RUN --network=none <<-E cat\n\ta\n\tE", 'SHELL ["a"]', "HEALTHCHECK NONE"]
    ),
)
_head = st.sampled_from(
    ["", "# escape=`\n", "# syntax=docker/dockerfile:1\n", "# check=skip=all\n", "\ufeff", "# note\n\n"]
)
_ends = st.sampled_from(["\n", "\r\n", "\n\n", "\n# a comment\n"])
_files = st.builds(
    lambda head, lines: head + "FROM debian AS base\n" + "".join(f"{line}{end}" for line, end in lines),
    _head,
    st.lists(st.tuples(_valid, _ends), max_size=6) | st.lists(st.tuples(_line | _text, _ends), max_size=2),
)
_variables = st.dictionaries(st.sampled_from(["v", "y", "name"]), _text, max_size=3)


def _parsed(text: str | bytes) -> Dockerfile | None:
    try:
        return parse(text)
    except DockerfileError as error:
        assert error.line >= 1
        assert error.column >= 1
        if error.source.lines:
            assert error.line <= len(error.source.lines)
            assert error.column <= len(error.source.line(error.line)) + 1
        return None


@given(_files)
@example("FROM a\nRUN x \\\u00a0")
@example('FROM a\nVOLUME ["[\\"x\\"]"]')
@example('# escape=`\nFROM a\nRUN --mount="type=bind,source=a b" x ```\n"')
@example("FROM a\nCOPY <<-'A' <<\"B\" x /y\n\tq\nA\nB")
@example("FROM a\nONBUILD RUN <<E  \nx\nE")
@example("FROM a\nRUN -- --x")
@example("\n# escape=`\nFROM a")
@example('FROM a\nADD ["0", "\u00a0"]')
def test_printing_keeps_the_meaning(text: str) -> None:
    dockerfile = _parsed(text)
    if dockerfile is not None:
        printed = print_dockerfile(dockerfile)
        again = parse(printed)
        assert again == dockerfile
        assert [stage.base.comments for stage in again.stages] == [stage.base.comments for stage in dockerfile.stages]
        assert print_dockerfile(again) == printed


@given(st.binary(max_size=200))
def test_rubbish_is_refused_with_a_place(data: bytes) -> None:
    _parsed(data)
    _parsed(b"FROM x\n" + data)


@given(_files, _variables)
def test_checks_and_expansion_raise_nothing_else(text: str, variables: dict[str, str]) -> None:
    dockerfile = _parsed(text)
    if dockerfile is None:
        return
    with contextlib.suppress(DockerfileError):
        for finding in check(dockerfile).findings:
            assert 1 <= finding.position.line <= len(dockerfile.source.lines)
    expander = Expander(variables, escape=dockerfile.escape)
    for stage in dockerfile.stages:
        for instruction in stage.instructions:
            with contextlib.suppress(DockerfileError):
                expander.instruction(instruction)


@given(_text, st.sampled_from("\\`"))
def test_a_quoted_word_expands_to_its_text(text: str, escape: str) -> None:
    word = Word(quoted(text, escape))
    expansion = expand_word(word, {"v": "other"}, NOWHERE, Rules(escape))
    assert expansion.text == text
    assert expansion.missing == {}


@given(st.text(alphabet="ab$ \"'\\`é=", max_size=12), st.text(alphabet="ab$ \"'\\`é=\u00a0\t", max_size=12))
def test_any_value_of_env_can_be_printed(name: str, value: str) -> None:
    env = Env((Pair(Word("n" + "".join(c for c in name if c in "ab")), Word(quoted(value))),))
    parsed = parse("FROM x\n" + print_instruction(env)).stages[0].instructions[0]
    assert parsed == env
    assert Expander({}).instruction(env).pairs[0].value.text == value


@given(_text, st.dictionaries(_text, _text, max_size=2), st.booleans(), st.booleans())
def test_words_expand_or_are_refused(text: str, variables: dict[str, str], quotes: bool, keep: bool) -> None:
    with contextlib.suppress(DockerfileError):
        expand_word(Word(text), variables, NOWHERE, Rules(quotes=quotes, keep_unset=keep, raw_quotes=keep))


@given(st.text(alphabet="ab*?\\", max_size=6), st.text(alphabet="ab\n", max_size=8))
def test_patterns_take_away_what_they_match(pattern: str, value: str) -> None:
    try:
        tokens = parse_pattern(pattern)
    except BadPattern:
        return
    for longest in (False, True):
        assert value.endswith(without_prefix(tokens, value, longest=longest))
        assert value.startswith(without_suffix(tokens, value, longest=longest))
    assert len(without_prefix(tokens, value, longest=True)) <= len(without_prefix(tokens, value, longest=False))
    assert set(replace(tokens, value, "", everywhere=True, limit=1 << 20)) <= set(value)


@given(_text | st.text(alphabet='type=bindcachesrtgmpfodqu,"/0123456789$', max_size=40))
def test_the_small_languages_raise_nothing_else(text: str) -> None:
    with contextlib.suppress(DockerfileError):
        parse_mount(Word(text), str, NOWHERE)
    with contextlib.suppress(DockerfileError):
        parse_trigger(text.replace("\ud800", ""), "trigger")
    with contextlib.suppress(BadPort):
        assert parse_ports(text).names
    mode = parse_mode(text)
    if mode is not None:
        assert 0 <= mode.apply(0o644, is_directory=False) <= 0o7777
    duration = parse_duration(text)
    if duration is not None:
        assert parse_duration(format_duration(duration)) == duration


_component = st.text(alphabet="ab.*?[]!^-\\ ", min_size=1, max_size=4)
_patterns = st.lists(st.builds("/".join, st.lists(_component | st.just("**"), min_size=1, max_size=3)), max_size=4)
_paths = st.lists(st.text(alphabet="ab.", min_size=1, max_size=3), min_size=1, max_size=4)


def _walked(matcher: IgnoreMatcher, parts: list[str]) -> bool:
    matched: Matched = ()
    for count in range(1, len(parts)):
        _, matched = matcher.enter("/".join(parts[:count]), matched)
    return matcher.ignores("/".join(parts), matched)


@given(_patterns, _paths)
@example(["a", "!a/b", "b"], ["a", "b", "c"])
def test_a_walk_and_a_single_path_agree(patterns: list[str], parts: list[str]) -> None:
    try:
        matcher = parse_ignore("\n".join(patterns))
    except DockerfileError:
        return
    path = "/".join(parts)
    # With exceptions before other patterns a walk may differ: it does not look at what cannot matter at a directory.
    exceptions = [pattern.exception for pattern in matcher.patterns]
    if sorted(exceptions) == exceptions:
        assert _walked(matcher, parts) == matcher.matches(path)
    if matcher.matches(parts[0]) and matcher.prunes(parts[0]) and len(parts) > 1:
        assert _walked(matcher, parts)


_part = st.sampled_from([NAME, REST, DIRECTORIES, "a", "b", "/", "[^/]", "[^a]", "[a-b]"])


@given(st.lists(_part, max_size=9), st.lists(st.text(alphabet="ab/\n", max_size=12), max_size=4))
@example([DIRECTORIES, DIRECTORIES, NAME, "a"], ["a", "b/a", "a/b"])
@example([NAME, NAME, "[^a]", DIRECTORIES, "b"], ["a/b", "b", "ab/ab", "b/ab", "bb/b"])
def test_positions_match_as_a_regular_expression(parts: list[str], texts: list[str]) -> None:
    matches = path_matcher(parts)
    for text in texts:
        assert bool(matches(text)) == (re.fullmatch("".join(parts), text, re.DOTALL) is not None)
