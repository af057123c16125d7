"""Where variables come from, what they fill in, what stages are called, and what a RUN with here-documents runs."""

from __future__ import annotations

import pytest

from lamina.build.dockerfile.arguments import (
    Argument,
    declare,
    global_arguments,
    platform_arguments,
    proxy_environment,
    unused_build_args,
)
from lamina.build.dockerfile.expand import Expander
from lamina.build.dockerfile.heredoc import Script, parse_marker, run_form
from lamina.build.dockerfile.instructions import Arg, Copy, Dockerfile, Env, ExecForm, Instruction, Run, ShellForm
from lamina.build.dockerfile.parse import parse, parse_instruction, parse_trigger
from lamina.build.dockerfile.print import print_instruction
from lamina.build.dockerfile.rules import Settings, parse_settings, unknown_names
from lamina.build.dockerfile.source import NOWHERE, START, DockerfileError, Position, Word
from lamina.build.dockerfile.stages import base_stage, needed_stages, source_stage, sources_of, stage_hint, target_stage
from lamina.errors import NotFound
from lamina.oci.platform import Platform

_AMD64 = Platform("linux", "amd64")
_ARM = Platform("linux", "arm", "v7")


def _one(text: str, *, escape: str = "\\") -> Instruction:
    return parse_instruction(text, "Dockerfile", escape=escape)


def _declared(text: str, **values: dict[str, str]) -> list[tuple[str, str | None]]:
    arg = _one(text)
    assert isinstance(arg, Arg)
    arguments = declare(arg, values.get("env", {}), values.get("globals", {}), values.get("given", {}))
    return [(argument.name, argument.value) for argument in arguments]


def test_a_later_declaration_sees_the_earlier_ones() -> None:
    assert _declared("ARG a=1 b=$a$c c", env={"c": "x"}) == [("a", "1"), ("b", "1x"), ("c", None)]


def test_where_the_value_of_an_argument_comes_from() -> None:
    known = {"globals": {"a": "global"}, "given": {"b": "given"}}
    assert _declared("ARG a b c", **known) == [("a", "global"), ("b", "given"), ("c", None)]
    assert _declared("ARG a=default b=default c=", **known) == [("a", "default"), ("b", "given"), ("c", "")]
    # A default that is not used may be one that cannot be expanded.
    assert _declared("ARG b=${x:?unset}", **known) == [("b", "given")]
    with pytest.raises(DockerfileError, match="x: unset"):
        _declared("ARG b=${x:?unset}")


def test_arguments_of_the_builder_are_not_in_the_environment() -> None:
    assert not Argument("BUILDKIT_SBOM_SCAN_STAGE", "true").in_environment
    assert not Argument("a", None).in_environment
    assert Argument("a", "").in_environment


def test_global_arguments() -> None:
    dockerfile = parse("ARG V=1 W=$V-$TARGETARCH\nARG X\nARG Y=0\nFROM a:$W\n")
    values = global_arguments(
        dockerfile, platform_arguments(_AMD64, _ARM, None), {"Y": "2", "TARGETOS": "plan9", "Z": "3"}
    )
    assert values | {"V": "1", "W": "1-arm", "Y": "2"} == values
    assert "X" not in values
    assert "Z" not in values
    assert values["TARGETOS"] == "plan9"


def test_arguments_about_platforms() -> None:
    assert platform_arguments(_AMD64, _ARM, "app") == {
        "TARGETSTAGE": "app",
        "BUILDPLATFORM": "linux/amd64",
        "BUILDOS": "linux",
        "BUILDOSVERSION": "",
        "BUILDARCH": "amd64",
        "BUILDVARIANT": "",
        "TARGETPLATFORM": "linux/arm/v7",
        "TARGETOS": "linux",
        "TARGETOSVERSION": "",
        "TARGETARCH": "arm",
        "TARGETVARIANT": "v7",
    }


def test_proxies() -> None:
    given = {"http_proxy": "h", "NO_PROXY": "n", "other": "o"}
    expected = {"HTTP_PROXY": "h", "http_proxy": "h", "NO_PROXY": "n", "no_proxy": "n"}
    assert proxy_environment(given) == expected


def test_build_args_that_nobody_declares() -> None:
    dockerfile = parse("ARG a\nFROM x\nARG b=1 c\n")
    given = dict.fromkeys(["a", "b", "c", "d", "HTTPS_PROXY", "SOURCE_DATE_EPOCH"], "")
    assert unused_build_args(dockerfile, given) == ("d",)


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ('COPY --chown=$v --chmod=$v $v "$v" $v/', 'COPY --chown="w x" --chmod="w x" ["w x", "w x", "w x/"]'),
        ("COPY --exclude=$v a b", "COPY --exclude=$v a b"),
        ("ADD --checksum=$v a b", 'ADD --checksum="w x" a b'),
        ("ENV $v=$v a='$v'", None),
        ("USER $v", "USER w x"),
        ("WORKDIR '/$v/'$v", "WORKDIR /$v/w x"),
        ("VOLUME $v", 'VOLUME ["w x"]'),
        ("EXPOSE $v", "EXPOSE w x"),
        ("STOPSIGNAL ${n:+SIGTERM}", "STOPSIGNAL SIGTERM"),
        ("FROM --platform=$v a:${v%?x}", 'FROM --platform="w x" a:w'),
        ("RUN $v", "RUN $v"),
        ("CMD $v", "CMD $v"),
        ('ENTRYPOINT ["$v"]', 'ENTRYPOINT ["$v"]'),
        ('SHELL ["$v"]', 'SHELL ["$v"]'),
        ("HEALTHCHECK CMD $v", "HEALTHCHECK CMD $v"),
        ("ONBUILD ENV a=$v", "ONBUILD ENV a=$v"),
        ("MAINTAINER $v", "MAINTAINER $v"),
        ("ARG a=$v", "ARG a=$v"),
    ],
)
def test_what_expands_and_what_does_not(text: str, filled: str | None) -> None:
    instruction = Expander({"v": "w x", "n": "1"}).instruction(_one(text))
    if filled is None:
        assert isinstance(instruction, Env)
        assert [(str(pair.name), str(pair.value)) for pair in instruction.pairs] == [("w x", "w x"), ("a", "$v")]
    else:
        assert instruction == _one(filled)


@pytest.mark.parametrize(
    ("text", "reason", "hint"),
    [
        ("FROM $unset", "$unset is empty: expected an image", ""),
        ("VOLUME /a $unset", "$unset is empty: expected a path", ""),
        ("STOPSIGNAL $name", "SIGTREM is no signal: expected a name or a number", "did you mean SIGTERM?"),
    ],
)
def test_values_that_cannot_be(text: str, reason: str, hint: str) -> None:
    with pytest.raises(DockerfileError) as caught:
        Expander({"name": "SIGTREM"}).instruction(_one(text))
    assert (caught.value.reason, caught.value.hint) == (reason, hint)
    assert caught.value.column == text.index("$") + 1


def test_here_documents_of_copy() -> None:
    copy = _one('COPY <<A <<-"B" <<-C /x\n"$v" \\$v \'q\' $$\nA\n\t$v\nB\n\t$v\n\t\ty\nC\n', escape="`")
    assert isinstance(copy, Copy)
    filled = Expander({"v": "w"}, escape="`").instruction(copy)
    assert [document.text for document in filled.documents] == ["\"w\" $v 'q' \n", "$v\n", "w\ny\n"]


def test_the_place_of_an_error_in_a_here_document() -> None:
    copy = _one("COPY <<-A /x\n\ta\n\t\tb ${v:?gone}\nA\n")
    with pytest.raises(DockerfileError, match="v: gone") as caught:
        Expander({}).instruction(copy)
    assert caught.value.position == Position(3, 5)
    assert caught.value.excerpt == "   3 |   b ${v:?gone}\n     |     ^"


def test_the_place_of_an_error_in_a_continued_word() -> None:
    with pytest.raises(DockerfileError) as caught:
        Expander({}).instruction(_one('ENV a=b \\\n  c="d \\\n  ${v:?gone}"'))
    assert caught.value.position == Position(3, 3)
    assert str(caught.value) == "cannot read Dockerfile:3:3: v: gone"


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("RUN a $b", ShellForm("a $b")),
        ('RUN ["a"]', ExecForm(("a",))),
        ("RUN <<E\na\n\tb\nE", ShellForm("a\n\tb\n")),
        ("RUN <<-'E'\n\ta\n\tE", ShellForm("a\n")),
        ("RUN <<E\n#!/usr/bin/python3\nprint()\nE", Script("E", "#!/usr/bin/python3\nprint()\n")),
        ("RUN <<-E\n\t#!/bin/sh\nE", Script("E", "#!/bin/sh\n")),
        ("RUN <<E cat\n#!x\nE", ShellForm("<<E cat\n#!x\nE")),
        ("RUN cat <<A - <<-B\n1\nA\n\t2\n\tB", ShellForm("cat <<A - <<-B\n1\nA\n\t2\nB")),
    ],
)
def test_what_a_run_runs(text: str, form: object) -> None:
    run = _one(text)
    assert isinstance(run, Run)
    assert run_form(run) == form


@pytest.mark.parametrize("word", ["EOF", "<<", "<<-", "<EOF", "<<<EOF", "<<A B", "x<<A", "<<'A", "<<''"])
def test_words_that_open_no_here_document(word: str) -> None:
    assert parse_marker(word) is None


_STAGES = parse(
    "FROM debian AS one\nFROM one AS two\nCOPY --from=0 a b\nFROM scratch AS One\n"
    "RUN --mount=type=bind,from=two,target=/x --mount='\"from=image,x\",target=/y' true\nCOPY --from=three a b\n"
    "FROM x AS three\n"
)


def test_names_of_stages() -> None:
    images = {0: "debian", 1: "one", 2: "scratch", 3: "x"}
    assert base_stage(_STAGES, 1, "ONE") is _STAGES.stages[0]
    assert base_stage(_STAGES, 3, "one") is _STAGES.stages[2]
    assert base_stage(_STAGES, 0, "one") is None
    assert target_stage(_STAGES, None).name == "three"
    assert target_stage(_STAGES, "TWO").index == 1
    assert target_stage(_STAGES, "1").index == 1
    assert [stage.index for stage in needed_stages(_STAGES, _STAGES.stages[1], images, set().__contains__)] == [0, 1]
    assert stage_hint(_STAGES, "thre") == "did you mean three?"
    assert [stage.label for stage in parse("FROM a\nFROM b AS c").stages] == ["stage-0", "c"]


def test_sources_of_instructions() -> None:
    run, copy = _STAGES.stages[2].instructions
    assert [(word.text, str(word.start)) for word in sources_of(run)] == [("two", "5:28"), ("image,x", "5:57")]
    assert [(word.text, str(word.start)) for word in sources_of(copy)] == [("three", "6:13")]


def test_a_stage_that_comes_later_or_is_the_same() -> None:
    with pytest.raises(DockerfileError, match="stage three, which comes after it") as caught:
        needed_stages(_STAGES, _STAGES.stages[2], {2: "scratch"}, set().__contains__)
    assert caught.value.position == Position(6, 13)
    with pytest.raises(DockerfileError, match="takes files from itself"):
        source_stage(_STAGES, 3, Word("three"))
    with pytest.raises(DockerfileError, match="no stage 9: expected a number below 4"):
        source_stage(_STAGES, 3, Word("9"))
    assert source_stage(_STAGES, 3, Word("debian:12")) is None


def test_a_target_that_is_misspelt() -> None:
    with pytest.raises(NotFound) as caught:
        target_stage(_STAGES, "tow")
    assert caught.value.hint == "did you mean two?"
    with pytest.raises(NotFound) as caught:
        target_stage(parse("FROM a"), "x")
    assert caught.value.hint == "none has a name"


def test_triggers() -> None:
    assert parse_trigger("COPY . /", "x") == _one("COPY . /")
    for text in ("", "FROM x", "RUN a\nRUN b", "RNU a", "RUN <<E\n"):
        with pytest.raises(DockerfileError):
            parse_trigger(text, "the image's OnBuild")


def test_settings_of_checks() -> None:
    assert parse_settings("", NOWHERE, START) == Settings()
    settings = parse_settings(" skip=A, B ;error=TRUE;experimental=C", NOWHERE, START)
    assert settings == Settings(frozenset("AB"), frozenset("C"), error=True)
    assert unknown_names(parse_settings("skip=JSONArgRecommended", NOWHERE, START)) == {
        "JSONArgRecommended": "did you mean JSONArgsRecommended?"
    }
    for text in ("skip", "skp=A", "error=maybe", "error=true;"):
        with pytest.raises(DockerfileError):
            parse_settings(text, NOWHERE, START)


def test_settings_above_an_instruction() -> None:
    settings = Settings(frozenset("A"), error=True)
    assert settings.merged(["a remark", "check=skip=B"]) == Settings(frozenset("AB"), error=True)
    assert settings.merged(["check = this = out"]) == settings


@pytest.mark.parametrize(
    "instruction",
    [
        Run(ShellForm("a\nb")),
        Run(ShellForm('["a"]')),
        Run(ShellForm("")),
        Run(ShellForm("<<E")),
        Copy((Word("a"),), Word(""), from_=Word("$x")),
    ],
)
def test_what_cannot_be_written(instruction: Instruction) -> None:
    with pytest.raises(DockerfileError, match="cannot be written"):
        print_instruction(instruction)


def test_a_line_that_is_too_long() -> None:
    assert parse(b"FROM " + b"x" * 65_529 + b"\n").stages
    with pytest.raises(DockerfileError, match="a line of 65536 bytes") as caught:
        parse(b"# fine\nFROM " + b"x" * 65_530 + b"\n")
    assert caught.value.line == 2
    with pytest.raises(DockerfileError, match="a Dockerfile has at most 16777216"):
        parse(b"RUN " + b"x" * 100_000_000)


def test_many_lines_take_little_time() -> None:
    env = "ENV " + " \\\n".join(f"name{number}=value" for number in range(20_000))
    dockerfile = parse("FROM x\n" + env)
    (instruction,) = dockerfile.stages[0].instructions
    assert instruction.span.end == Position(20_001, 16)
    assert isinstance(instruction, Env)
    assert instruction.pairs[-1].name.start == Position(20_001, 1)


def test_a_string_with_what_no_file_can_hold() -> None:
    with pytest.raises(DockerfileError) as caught:
        parse("FROM x\nRUN \ud800")
    assert caught.value.position == Position(2, 5)


def test_the_escape_character_of_a_file() -> None:
    assert parse("FROM x").escape == "\\"
    dockerfile: Dockerfile = parse("# escape=`\nFROM x\nENV a=`$v b=\\$v")
    filled = Expander({"v": "w"}, escape=dockerfile.escape).instruction(dockerfile.stages[0].instructions[0])
    assert isinstance(filled, Env)
    assert [str(pair.value) for pair in filled.pairs] == ["$v", "\\w"]
