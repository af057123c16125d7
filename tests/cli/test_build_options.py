"""Options of `lamina build` that tell which steps are carried out, how many at once, and with which SSH agent."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.command import Lamina
from tests.helpers.dockerfiles import write
from tests.helpers.rootfs import PROGRAMS, make_rootfs

pytestmark = pytest.mark.requires("overlay", "userns")


@pytest.fixture
def agent(scratch: Path) -> Iterator[Path]:
    """Return the socket of an SSH agent that listens until the test ends."""
    socket = scratch / "agent"
    with subprocess.Popen(["ssh-agent", "-D", "-a", str(socket)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()  # it says where it listens, once it does
        yield socket
        process.terminate()


@pytest.mark.parametrize(
    ("words", "carried_out"),
    [
        ((), set()),
        (("--no-cache=one",), {"one", "three"}),
        (("--no-cache-filter", "TWO"), {"two", "three"}),
        (("--no-cache-filter", "one,two"), {"one", "two", "three"}),
        (("--no-cache=three", "--no-cache-filter", "two"), {"two", "three"}),
        (("--no-cache=false",), set()),
        (("--no-cache",), {"one", "two", "three"}),
    ],
)
def test_the_cache_is_left_aside_for_some_stages(
    lamina: Lamina, context: Path, words: tuple[str, ...], carried_out: set[str]
) -> None:
    unique = "cat /proc/sys/kernel/random/uuid"
    place = write(
        context,
        "FROM base:1 AS one", f"RUN {unique} >/one",
        "FROM base:1 AS two", f"RUN {unique} >/two",
        "FROM base:1 AS three", "COPY --from=one /one /", "COPY --from=two /two /", f"RUN {unique} >/three",
    )  # fmt: skip
    content = []
    for more in ((), words):
        lamina("build", "--progress=quiet", "-t", "built:1", *more, place)
        told = lamina("run", "--rm", "built:1", "cat", "/one", "/two", "/three").lines()
        content.append(dict(zip(("one", "two", "three"), told, strict=True)))
    assert {name for name in content[0] if content[0][name] != content[1][name]} == carried_out


@pytest.mark.parametrize(("jobs", "together"), [("1", False), ("2", True)])
def test_jobs_limits_how_many_steps_run_at_once(lamina: Lamina, context: Path, jobs: str, together: bool) -> None:
    # Each waits for the other, for a while if it waits in vain.
    meet = (
        "RUN --mount=type=cache,target=/c touch /c/{}; n=0; while [ ! -e /c/{} ] && [ $n -lt {} ]; do "
        "sleep 0.1; n=$((n+1)); done; [ -e /c/{} ] && echo met >/{} || echo alone >/{}"
    )
    seconds = 100 if together else 5
    place = write(
        context,
        "FROM base:1 AS one", meet.format("one", "two", seconds, "two", "one", "one"),
        "FROM base:1 AS two", meet.format("two", "one", seconds, "one", "two", "two"),
        "FROM base:1", "COPY --from=one /one /", "COPY --from=two /two /",
    )  # fmt: skip
    lamina("build", "--progress=quiet", "--jobs", jobs, "-t", "built:1", place)
    told = lamina("run", "--rm", "built:1", "cat", "/one", "/two").lines()
    assert sorted(told) == (["met", "met"] if together else ["alone", "met"])


@pytest.mark.requires("ssh-agent")
@pytest.mark.parametrize("words", ["default", "deploy={}"])
def test_a_command_talks_to_the_agent(lamina: Lamina, context: Path, scratch: Path, agent: Path, words: str) -> None:
    mount = ",id=deploy,required" if "{" in words else ""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "mine", "-f", scratch / "key"], check=True)
    socket = {"SSH_AUTH_SOCK": str(agent)}
    subprocess.run(["ssh-add", "-q", scratch / "key"], check=True, env={**lamina.environment(), **socket})
    make_rootfs(scratch / "with-ssh", (*PROGRAMS, "ssh-add"))
    lamina("import", str(scratch / "with-ssh"), "base:ssh")
    place = write(
        context,
        "FROM base:ssh", f"RUN --mount=type=ssh{mount} ssh-add -L >/keys",
        "RUN echo ${SSH_AUTH_SOCK:-none} >/after && ls /run >>/after 2>/dev/null || true",
    )  # fmt: skip
    environment = {} if "{" in words else socket
    lamina("build", "-t", "built:1", "--ssh", words.format(agent), place, env=environment)
    assert lamina("run", "--rm", "built:1", "cat", "/keys").stdout == (scratch / "key.pub").read_text()
    assert "agent" not in lamina("run", "--rm", "built:1", "cat", "/after").stdout
    assert lamina("run", "--rm", "built:1", "cat", "/after").lines()[0] == "none"


def test_an_agent_that_was_not_given_is_missed_where_it_is_required(lamina: Lamina, context: Path) -> None:
    place = write(context, "FROM base:1", "RUN --mount=type=ssh echo ${SSH_AUTH_SOCK:-none} >/socket")
    lamina("build", "-t", "built:1", place)
    assert lamina("run", "--rm", "built:1", "cat", "/socket").stdout == "/run/buildkit/ssh_agent.0\n"
    place = write(context, "FROM base:1", "RUN --mount=type=ssh,id=deploy,required true")
    done = lamina("build", place, status=125)
    assert "Dockerfile:2" in done.stderr and "no SSH agent deploy was given" in done.stderr
    assert "SSH_AUTH_SOCK is not set" in lamina("build", "--ssh", "default", place, status=2).stderr


def test_quiet_is_the_id_alone(lamina: Lamina, context: Path) -> None:
    done = lamina("build", "-q", "-t", "built:1", write(context, "FROM base:1", "RUN echo said"))
    assert done.stdout.startswith("sha256:") and done.stdout.count("\n") == 1 and done.stderr == ""
    assert lamina("build", "-q", write(context, "FROM base:1", "RUN echo said; false"), status=125).stderr.startswith(
        "said\n"
    )
