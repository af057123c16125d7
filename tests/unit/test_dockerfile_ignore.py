""".dockerignore: which patterns match what, in which order, and while a tree is walked."""

from __future__ import annotations

import time

import pytest

from lamina.build.dockerfile.ignore import IgnoreMatcher, Matched, exclude_matcher, name_matcher, parse_ignore
from lamina.build.dockerfile.source import DockerfileError
from lamina.errors import InvalidInput


def _walked(matcher: IgnoreMatcher, path: str) -> bool:
    """Judge a path as a walk from the top does."""
    matched: Matched = ()
    parts = path.split("/")
    for count in range(1, len(parts)):
        _, matched = matcher.enter("/".join(parts[:count]), matched)
    return matcher.ignores(path, matched)


@pytest.mark.parametrize(
    ("patterns", "ignored", "kept"),
    [
        ("temp", ["temp", "temp/a", "temp/a/b"], ["a/temp", "temps", "tem"]),
        ("/temp/", ["temp", "temp/a"], ["a/temp"]),
        ("*/temp*", ["a/temp", "a/temperature/x"], ["temp", "a/b/temp"]),
        ("*/*/temp*", ["a/b/temporary"], ["a/temp", "temp"]),
        ("temp?", ["tempa", "tempb/x"], ["temp", "temp12"]),
        ("*.md", ["a.md", ".md"], ["a/b.md", "a.mdx"]),
        ("**/*.go", ["a.go", "a/b.go", "a/b/c.go"], ["a.goo", "go"]),
        ("**/foo", ["foo", "a/foo", "a/b/foo/c"], ["afoo", "a/foob"]),
        ("**foo", ["foo", "afoo", "a/bfoo"], ["food"]),
        ("foo/**", ["foo/a", "foo/a/b"], ["foo", "a/foo/b"]),
        ("foo/**/bar", ["foo/bar", "foo/a/bar", "foo/a/b/bar/c"], ["foobar", "foo/barb"]),
        ("a**/b", ["a/b", "ax/b", "a/x/b", "ab"], ["b", "axb"]),
        ("**", ["a", "a/b"], []),
        ("*", ["a", "a/b", ".a"], []),
        ("**/node_modules/**", ["node_modules/a", "x/node_modules/y/z"], ["node_modules", "x/node_modules"]),
        ("a[b-d]e", ["abe", "ade"], ["aae", "ae", "a[b-d]e"]),
        ("a[^b-d]e", ["aze"], ["ace"]),
        ("[a\\-c].[!x]", ["-.!", "a.x"], ["b.x"]),
        ("a\\*b", ["a*b"], ["axb"]),
        ("a.b+(c){d}|$^", ["a.b+(c){d}|$^"], ["aXb+(c){d}|$^"]),
        ("a.b*(c)^", ["a.bx(c)^"], ["aXbx(c)^"]),
        ("./a//b/../c/", ["a/c", "a/c/d"], ["a/b"]),
        ("  spaced name  ", ["spaced name"], ["spaced"]),
        ("é?", ["éé", "éx"], ["é"]),
        ("# comment\n\n#a\na", ["a"], ["# comment", "#a"]),
        ("*.md\n!README.md", ["a.md"], ["README.md"]),
        ("*.md\n!README*.md\nREADME-secret.md", ["a.md", "README-secret.md"], ["README-x.md"]),
        ("*.md\nREADME-secret.md\n!README*.md", ["a.md"], ["README-secret.md"]),
        ("!a\na", ["a"], []),
        ("a\n!a/b", ["a", "a/c", "a/c/b"], ["a/b", "a/b/c"]),
        ("a\n! /a/b/ ", ["a/c"], ["a/b"]),
        ("*\n!src\n!*.toml", ["docs/a"], ["src/x/y", "a.toml"]),
        ("a/*\n!a/b\na/b/c", ["a/x", "a/b/c/d"], ["a/b", "a/b/d"]),
        ("**\n!**/keep", ["a", "a/b"], ["keep/x", "a/keep"]),
        (".", [], ["a"]),
        ("/", [], ["a"]),
    ],
)
def test_patterns(patterns: str, ignored: list[str], kept: list[str]) -> None:
    matcher = parse_ignore(patterns)
    for path in ignored:
        assert matcher.matches(path), path
        assert _walked(matcher, path), path
    for path in kept:
        assert not matcher.matches(path), path
        assert not _walked(matcher, path), path


def test_a_walk_does_not_look_at_what_cannot_matter() -> None:
    # At `a` the last pattern is not looked at, since the first one matched; below it it does not match by itself.
    matcher = parse_ignore("a\n!a/b\na*")
    assert matcher.matches("a/b")
    assert not _walked(matcher, "a/b")


def test_what_needs_not_be_entered() -> None:
    assert parse_ignore("a").prunes("a")
    matcher = parse_ignore("a\n!a/b/c/**")
    assert not matcher.prunes("a")
    assert not matcher.prunes("a/b")
    assert matcher.prunes("a/x")
    assert matcher.prunes("ab")
    assert not parse_ignore("a\n!**/c").prunes("a")


def test_the_file_as_bytes() -> None:
    matcher = parse_ignore(b"\xef\xbb\xbfa\r\ncaf\xe9\r\n!b\n")
    assert matcher.matches("a")
    assert matcher.matches("caf\udce9")
    assert [pattern.text for pattern in matcher.patterns] == ["a", "caf\udce9", "b"]


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ("a\n  !", 2, 3),
        ("! ", 1, 1),
        ("[", 1, 1),
        ("a\nb[x", 2, 1),
        ("[]a]", 1, 1),
        ("[a-]", 1, 1),
        ("[z-a]", 1, 1),
        ("a\\", 1, 1),
    ],
)
def test_bad_patterns(text: str, line: int, column: int) -> None:
    with pytest.raises(DockerfileError) as caught:
        parse_ignore(text)
    assert (caught.value.line, caught.value.column) == (line, column)
    assert caught.value.file == ".dockerignore"
    assert caught.value.excerpt


def test_patterns_of_exclude() -> None:
    matcher = exclude_matcher([" *.txt ", "", "!keep.txt", "/rooted"])
    assert matcher.matches("a.txt")
    assert not matcher.matches("keep.txt")
    assert not matcher.matches("rooted")


def test_twenty_thousand_paths_take_little_time() -> None:
    lines = ["**/*.pyc", "node_modules", "**/.git", "*.log", "build/*", "docs/**/x", "tmp?", "a/b/c", "**/__pycache__"]
    matcher = parse_ignore("\n".join([*lines, "!**/keep"]))
    started = time.process_time()
    count = 0
    for directory in range(200):
        ignored, matched = matcher.enter(f"d{directory}")
        assert not ignored
        count += sum(matcher.ignores(f"d{directory}/file{number}.py", matched) for number in range(100))
    assert count == 0
    assert time.process_time() - started < 2  # measured 0.08 s; a machine under load has its own clock


@pytest.mark.parametrize("pattern", ["*a" * 40 + "b*", "**/a*" * 40 + "b*", "[^b]**" * 40 + "b*"])
def test_many_wildcards_take_no_time(pattern: str) -> None:
    began = time.process_time()
    for matcher in (parse_ignore(pattern), parse_ignore(f"{pattern}\n!{pattern}x"), exclude_matcher([pattern])):
        assert not matcher.ignores("a" * 250)
        assert not matcher.matches("/".join(["a" * 200] * 20))
        assert not matcher.ignores("a/" * 2000)
    assert not name_matcher(pattern.replace("/", ""))("a" * 250)
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    ("pattern", "names", "others"),
    [
        ("*", ["a", "", ".a"], []),
        ("a*b*c*d", ["abcd", "axbxcxd", "aabbccdd"], ["abdc", "abcdx"]),
        ("a**b", ["ab", "axb"], ["a"]),
        ("[^b-d]?", ["ax", "e\n"], ["bx", "a"]),
        ("\\**", ["*", "*a"], ["a"]),
        ("a]{x}.+*", ["a]{x}.+"], ["a]{x}x+"]),
    ],
)
def test_wildcards_of_names(pattern: str, names: list[str], others: list[str]) -> None:
    matches = name_matcher(pattern)
    assert [name for name in (*names, *others) if matches(name)] == names


def test_a_name_pattern_that_is_none() -> None:
    with pytest.raises(InvalidInput, match="not closed"):
        name_matcher("a[b")
