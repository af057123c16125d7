"""Instructions that change the config alone."""

from __future__ import annotations

import pytest

from lamina.build.configure import absolute, configure, take_triggers
from lamina.build.dockerfile.expand import Expander
from lamina.build.dockerfile.parse import parse
from lamina.build.values import State
from lamina.oci.config import Settings


def configured(text: str, state: State | None = None, **args: str) -> State:
    dockerfile = parse(f"FROM scratch\n{text}\n")
    state = state or State()
    for written in dockerfile.stages[0].instructions:
        expander = Expander(state.variables)
        after = configure(
            state, expander.instruction(written), expander, global_values={}, build_args=args, escape="\\"
        )
        assert after is not None, written.text
        state, _ = after
    return state


def test_variables_are_seen_by_what_follows() -> None:
    state = configured("ARG VERSION=1\nENV A=$VERSION B=$A\nLABEL v=$A", VERSION="2")
    assert state.settings.env == ("A=2", "B=")
    assert state.settings.labels == {"v": "2"}
    assert state.arguments == ("VERSION",)


def test_what_is_said_last_of_a_name_counts() -> None:
    assert configured("ENV A=env\nARG A=arg\nLABEL a=$A").settings.labels == {"a": "arg"}
    assert configured("ARG A=arg\nENV A=env\nLABEL a=$A", A="given").settings.labels == {"a": "env"}


def test_env_keeps_the_place_of_a_name() -> None:
    base = State(settings=Settings(env=("A=1", "B=2")), variables={"A": "1", "B": "2"})
    assert configured("ENV B=3 A=4 C=5", base).settings.env == ("A=4", "B=3", "C=5")


def test_an_entrypoint_drops_the_command_of_the_base_only() -> None:
    base = State(settings=Settings(cmd=("base",)))
    assert configured('ENTRYPOINT ["x"]', base).settings.cmd is None
    assert configured('CMD ["own"]\nENTRYPOINT ["x"]', base).settings.cmd == ("own",)


def test_the_shell_of_the_stage_runs_shell_forms() -> None:
    state = configured('SHELL ["/bin/bash", "-ec"]\nCMD a b\nENTRYPOINT ["c"]')
    assert state.settings.cmd == ("/bin/bash", "-ec", "a b")
    assert state.settings.entrypoint == ("c",)
    assert state.settings.other["Shell"] == ["/bin/bash", "-ec"]


def test_the_rest_of_a_config() -> None:
    state = configured(
        "USER www\nEXPOSE 80 443/udp\nVOLUME /b /a\nSTOPSIGNAL INT\nMAINTAINER me\n"
        "HEALTHCHECK --interval=2s --retries=3 CMD true\nONBUILD RUN echo later"
    )
    settings = state.settings
    assert (settings.user, settings.exposed_ports, settings.volumes) == ("www", ("443/udp", "80/tcp"), ("/a", "/b"))
    assert (settings.stop_signal, state.author) == ("INT", "me")
    assert settings.other["Healthcheck"] == {"Test": ["CMD-SHELL", "true"], "Interval": 2_000_000_000, "Retries": 3}
    triggers, left = take_triggers(settings)
    assert triggers == ["RUN echo later"]
    assert "OnBuild" not in left.other


@pytest.mark.parametrize("text", ["RUN true", "COPY a b", "ADD a b", "WORKDIR /x"])
def test_what_changes_files_is_left_to_others(text: str) -> None:
    dockerfile = parse(f"FROM scratch\n{text}\n")
    (instruction,) = dockerfile.stages[0].instructions
    assert configure(State(), instruction, Expander({}), global_values={}, build_args={}, escape="\\") is None


@pytest.mark.parametrize(
    ("path", "workdir", "result"),
    [
        ("a", "/srv", "/srv/a"),
        ("a/", "/srv", "/srv/a/"),
        (".", "/srv", "/srv"),
        ("./", "/srv", "/srv/"),
        ("/a/../b", "/srv", "/b"),
        ("../../..", "/srv", "/"),
        ("/", "/srv", "/"),
    ],
)
def test_paths_are_made_absolute(path: str, workdir: str, result: str) -> None:
    assert absolute(path, workdir) == result
