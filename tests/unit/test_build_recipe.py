"""Recipes: what they print, and that the printed text means the same."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

import lamina
from lamina import Mount, Recipe
from lamina.api import building
from lamina.build.dockerfile.expand import Expander
from lamina.build.dockerfile.instructions import Copy, Env
from lamina.build.dockerfile.parse import parse
from lamina.build.dockerfile.source import DockerfileError
from lamina.errors import InvalidInput

_text = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=20)
_name = st.from_regex("[a-z][a-z0-9]{0,5}", fullmatch=True)


def test_every_instruction_prints_and_parses_as_the_same() -> None:
    tool = Recipe.from_image("gcc:13", platform="$BUILDPLATFORM").run(
        "make\nmake install", mounts=[Mount.cache("/c,d")]
    )
    on_tool = Recipe.from_stage(tool, name="checked").run(["test", "-x", "/bin/it"], network="none")
    recipe = (
        Recipe.from_image("debian:12")
        .arg("VERSION", "1 2")
        .arg("OTHER")
        .env(LANG="C.UTF-8", GREETING='say "hi" to $OTHER for \\$5')
        .label({"org.example.a b": "c"})
        .shell(["/bin/bash", "-c"])
        .workdir("/srv/a b")
        .copy("a b", "c", to="/dst/", chown="1:2", chmod="u=rwX", exclude=["*.py"], link=True)
        .copy("/bin/it", to="/bin/", from_=tool)
        .copy("/bin/it", to="/bin/checked", from_=on_tool, parents=True)
        .copy("/etc/os-release", to="/", from_="busybox")
        .add("https://example.com/x.tar", to="/", unpack=True, checksum=f"sha256:{'0' * 64}")
        .write("EOF\nkept as it is: $HOME\n", to="/etc/file", chmod="600")
        .run(
            "cat /x", mounts=[Mount.bind("/x", from_=tool, source="/bin"), Mount.secret("id", env="ID", required=True)]
        )
        .run(
            "true", mounts=[Mount.tmpfs("/t", size=4096), Mount.ssh(), Mount.bind("/y", from_="busybox", writable=True)]
        )
        .instruction("RUN --mount=type=cache,target=/z true")
        .user("nobody")
        .volume("/data", "/b c")
        .expose(80, "53/udp")
        .stopsignal("SIGINT")
        .healthcheck("true", interval=1.5, retries=3)
        .onbuild("RUN true")
        .entrypoint(["/bin/it"])
        .cmd([])
    )
    assert parse(str(recipe)) == recipe.dockerfile()
    assert str(recipe).startswith("FROM --platform=$BUILDPLATFORM gcc:13 AS stage1\nRUN --mount=")
    assert "RUN --mount=type=cache,target=/z true" in str(recipe)
    assert [stage.name for stage in recipe.dockerfile().stages] == ["stage1", "checked", None]


def test_recipes_are_values() -> None:
    base = Recipe.from_image("debian:12")
    one, two = base.run("true"), base.run("true")
    assert one == two and hash(one) == hash(two) and base != one
    both = base.copy("/a", to="/a", from_=one).copy("/b", to="/b", from_=two)
    assert len(both.dockerfile().stages) == 2, "what is the same is one stage"
    assert isinstance(both, Recipe)


@given(st.dictionaries(_name, _text, min_size=1, max_size=3), st.lists(_text, min_size=1, max_size=3), _text)
def test_texts_mean_themselves(variables: dict[str, str], paths: list[str], command: str) -> None:
    literal = {name: value.replace("\\$", "$").replace("$", "\\$") for name, value in variables.items()}
    sources = [path.replace("$", "\\$") for path in paths]
    recipe = Recipe.from_image("a").env(literal).run([command, *paths]).copy(*sources, to="/dst/")
    dockerfile = parse(str(recipe))
    assert dockerfile == recipe.dockerfile()
    env, run, copy = dockerfile.stages[0].instructions
    filled = Expander({}).instruction(env)
    assert isinstance(filled, Env)
    assert {pair.name.text: pair.value.text for pair in filled.pairs} == {
        name: value.replace("\\$", "$") for name, value in variables.items()
    }
    copied = Expander({}).instruction(copy)
    assert isinstance(copied, Copy)
    assert run == recipe.dockerfile().stages[0].instructions[1]


def test_what_cannot_be_written_is_refused_where_it_is_given() -> None:
    recipe = Recipe.from_image("debian:12")
    wrongs: tuple[Callable[[], object], ...] = (
        lambda: recipe.env(A="two\nlines"),
        lambda: recipe.run(""),
        lambda: recipe.instruction("RUM true"),
        lambda: recipe.onbuild("FROM x"),
        lambda: recipe.expose("http port"),
    )
    for wrong in wrongs:
        with pytest.raises(DockerfileError):
            wrong()
    with pytest.raises(InvalidInput, match="begins another stage"):
        recipe.instruction("FROM x")
    with pytest.raises(InvalidInput, match="small letter"):
        Recipe.from_image("a", name="A b")
    twice = recipe.copy("/a", to="/", from_=Recipe.from_image("a", name="x")).copy(
        "/b", to="/", from_=Recipe.from_image("b", name="x")
    )
    with pytest.raises(InvalidInput, match="two of its stages"):
        str(twice)


def test_every_option_of_a_build_is_read() -> None:
    assert callable(lamina.build)
    source = inspect.getsource(building.build)
    assert [name for name in building.BuildKeywords.__annotations__ if f'keywords.get("{name}"' not in source] == []
