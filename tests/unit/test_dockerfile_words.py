"""Quotes, escapes and variables in words, case by case."""

from __future__ import annotations

import pytest

from lamina.build.dockerfile.patterns import BadPattern, parse_pattern
from lamina.build.dockerfile.source import NOWHERE, DockerfileError, Position, Word
from lamina.build.dockerfile.words import AS_WRITTEN, Rules, expand_word, words_of

_VARIABLES = {
    "set": "value",
    "empty": "",
    "path": "/usr/local/bin/tool.tar.gz",
    "spaces": "a  b ",
    "stars": "a*b?c\\d",
    "any": "*",
    "héé": "accent",
}


def _text(word: str, escape: str = "\\") -> str:
    return expand_word(Word(word), _VARIABLES, NOWHERE, Rules(escape)).text


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("plain", "plain"),
        ("'a $set'", "a $set"),
        ('"a $set"', "a value"),
        ('"it\'s"', "it's"),
        ("'say \"hi\"'", 'say "hi"'),
        (r"\$set", "$set"),
        (r'"\$set \" \\ \n"', r"$set " + '" \\ \\n'),
        (r"'\'x", "\\x"),
        ("a\\ b", "a b"),
        ("end\\", "end"),
        ("a''b\"\"c", "abc"),
        ("$set", "value"),
        ("$set.x", "value.x"),
        ("${set}x", "valuex"),
        ("$setx", ""),
        ("$", "$"),
        ("$.", "$."),
        ("a$ b", "a$ b"),
        ("$1x$@y$$", "xy"),
        ("$héé", "accent"),
        ("${set:-w}", "value"),
        ("${empty:-w}", "w"),
        ("${empty-w}", ""),
        ("${unset:-w}", "w"),
        ("${unset-w}", "w"),
        ("${set:+w}", "w"),
        ("${empty:+w}", ""),
        ("${empty+w}", "w"),
        ("${unset+w}", ""),
        ("${set:?e}${set?e}${empty?e}", "valuevalue"),
        ("${unset:-${empty:-$set}}", "value"),
        ("${unset:-'a b' \"$set\"}", "a b value"),
        ("${unset:-a\\}b}", "a}b"),
        ("${unset:-{x}", "{x"),
        ("${set}}", "value}"),
        ("${path#*/}", "usr/local/bin/tool.tar.gz"),
        ("${path##*/}", "tool.tar.gz"),
        ("${path%.*}", "/usr/local/bin/tool.tar"),
        ("${path%%.*}", "/usr/local/bin/tool"),
        ("${path%?}", "/usr/local/bin/tool.tar.g"),
        ("${path#nothing}", "/usr/local/bin/tool.tar.gz"),
        ("${path#}", "/usr/local/bin/tool.tar.gz"),
        ("${path/\\/usr/}", "/local/bin/tool.tar.gz"),
        ("${path/tool.*/x}", "/usr/local/bin/x"),
        ("${path//\\//:}", ":usr:local:bin:tool.tar.gz"),
        ("${path//?ar/-}", "/usr/local/bin/tool.-.gz"),
        ("${set//e/$set}", "valuvalue"),
        ("${set/$any/x}", "x"),
        ("${set//*/x}", "x"),
        ("${set//$empty/-}", "-v-a-l-u-e-"),
        ("${stars/\\*/+}", "a+b?c\\d"),
        ("${stars//\\?/+}", "a*b+c\\d"),
        ("${stars/\\\\/+}", "a*b?c+d"),
        ("${unset#x}${unset/a/b}", ""),
        ("a < b << c", "a < b << c"),
    ],
)
def test_words(word: str, text: str) -> None:
    assert _text(word) == text


@pytest.mark.parametrize(
    ("word", "column", "reason"),
    [
        ("x'open", 2, "single quote is not closed"),
        ('a "open', 3, "double quote is not closed"),
        ('a "open\\', 3, "double quote is not closed"),
        ("a${", 2, "not closed"),
        ("a${set", 2, "not closed"),
        ("${}", 3, "expected the name"),
        ("${{set}}", 3, "expected the name"),
        ("${:-x}", 3, "expected the name"),
        ("${set=x}", 6, "= after ${set: expected }"),
        ("${set:=x}", 6, ":= after ${set"),
        ("${set:#x}", 6, ":# after ${set"),
        ("${set!}", 6, "! after ${set"),
        ("ab ${unset:?please set it}", 4, "unset: please set it"),
        ("${unset?}", 1, "unset: it must be set"),
        ("${empty:?}", 1, "empty: it must be set and not empty"),
        ("${set:-${unset:?inner}}", 8, "unset: inner"),
        ("${set#a\\bc}", 7, "\\b in a pattern"),
        ("${set/x}", 7, "not closed: expected /"),
        ("${set/x/", 9, "not closed: expected }"),
        ("${set:-" * 101 + "}" * 101, 701, "more than 100"),
    ],
)
def test_what_cannot_be_read(word: str, column: int, reason: str) -> None:
    with pytest.raises(DockerfileError) as caught:
        _text(word)
    assert reason in caught.value.reason
    assert caught.value.column == column


def test_another_escape_character() -> None:
    assert _text("C:\\dir\\$set `$set `` `'", "`") == "C:\\dir\\value $set ` '"
    assert _text('"`"" "\\"', "`") == '" \\'


def test_a_variable_is_looked_up_even_where_it_is_not_used() -> None:
    expansion = expand_word(Word("${set:-$one} ${two:+$three} $set"), _VARIABLES, NOWHERE)
    assert expansion.used == {"set"}
    assert expansion.missing == {"one": Position(1, 8), "two": Position(1, 14), "three": Position(1, 21)}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a  b\tc", ["a", "b", "c"]),
        ("a' 'b \" c\"", ["a b", " c"]),
        ("a\\ b", ["a b"]),
        ("x$spaces", ["xa", "b"]),
        ('x"$spaces"y', ["xa  b y"]),
        ("${spaces}z", ["a", "b", "z"]),
        ("'' x", ["x"]),
        ("a<< b", ["a<< b"]),
        ("8${unset:-0}", ["80"]),
    ],
)
def test_splitting_into_words(text: str, words: list[str]) -> None:
    assert list(expand_word(Word(text), _VARIABLES, NOWHERE).words) == words


def test_words_as_they_are_written() -> None:
    line = "RUN 'a b' \"c\\\" $x\" d\\ e ${f:-g} <<-'H'"
    assert words_of(Word(line), NOWHERE, AS_WRITTEN) == (
        "RUN",
        "'a b'",
        '"c\\" $x"',
        "d\\ e",
        "${f:-g}",
        "<<-'H'",
    )


def test_a_bad_pattern_names_the_character() -> None:
    for pattern in ("\\", "\\a", "\\\\\\"):
        with pytest.raises(BadPattern):
            parse_pattern(pattern)


def test_a_hard_pattern_takes_no_time() -> None:
    word = "${long//" + "*a" * 30 + "b/x}"
    assert expand_word(Word(word), {"long": "a" * 300}, NOWHERE).text == "a" * 300
