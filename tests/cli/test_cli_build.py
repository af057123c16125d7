"""`lamina build` over a small base image: layers, cache, stages, mounts, errors."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest

from tests.helpers.command import Done, Lamina

pytestmark = pytest.mark.requires("overlay", "userns")


def build(lamina: Lamina, context: Path, text: str, *words: str, status: int = 0) -> Done:
    (context / "Dockerfile").write_text(text)
    return lamina("build", "-t", "built:1", *words, str(context), status=status)


def look(lamina: Lamina, script: str) -> str:
    return lamina("run", "--rm", "built:1", "sh", "-c", script).stdout


def config(lamina: Lamina) -> dict[str, object]:
    (image,) = json.loads(lamina("inspect", "built:1").stdout)
    found: dict[str, object] = image["Config"]
    return found


def test_instructions_become_layers_from_the_top_down(lamina: Lamina, context: Path) -> None:
    (context / "file").write_text("copied\n")
    text = """\
FROM base:1
ARG WHO=nobody
ENV GREETING="hello $WHO"
RUN echo "$GREETING" >/greeting && rm /etc/group
WORKDIR /srv/app
COPY file ./
COPY <<END /srv/made
made for $WHO
END
RUN <<SCRIPT
cat /srv/made
touch /srv/ran
SCRIPT
LABEL a=b
CMD ["cat", "/greeting"]
"""
    done = build(lamina, context, text, "--build-arg", "WHO=you")
    assert "made for you" in done.stderr
    assert look(lamina, "cat /greeting file /srv/made; ls /srv; ls /etc/group 2>/dev/null || echo gone") == (
        "hello you\ncopied\nmade for you\napp\nmade\nran\ngone\n"
    )
    assert lamina("run", "--rm", "built:1").stdout == "hello you\n"
    assert config(lamina)["WorkingDir"] == "/srv/app"
    history = lamina("history", "--no-trunc", "built:1").stdout
    assert "LABEL a=b" in history
    assert 'RUN |1 WHO=you /bin/sh -c echo "$GREETING"' in history


def test_the_cache_goes_by_content(lamina: Lamina, context: Path) -> None:
    (context / "file").write_text("1")
    text = "FROM base:1\nCOPY file /file\nRUN cat /proc/sys/kernel/random/uuid >/stamp\n"
    first = build(lamina, context, text)
    stamp = look(lamina, "cat /stamp")
    (context / "file").touch()
    again = build(lamina, context, text, "--explain-cache")
    assert again.stdout == first.stdout
    assert again.stderr.count("CACHED") == 2
    (context / "file").chmod(0o600)
    changed = build(lamina, context, text, "--explain-cache")
    assert "mode of file 0644 -> 0600" in changed.stderr
    assert "the step above changed" in changed.stderr
    assert look(lamina, "cat /stamp") != stamp


def test_stages_are_built_where_they_are_needed(lamina: Lamina, context: Path) -> None:
    text = """\
FROM base:1 AS tool
RUN mkdir /out && echo tool >/out/tool
FROM base:1 AS unused
RUN false
FROM scratch
COPY --from=tool /out/ /
COPY --from=base:1 /etc/passwd /etc/
"""
    build(lamina, context, text)
    lamina("run", "--name", "box", "built:1", "/tool", status=126)
    assert lamina("export", "box", "-o", str(context / "tree.tar")).status == 0
    with tarfile.open(context / "tree.tar") as tree:
        names = {name.strip("./") for name in tree.getnames()}
    assert {"tool", "etc/passwd"} <= names
    build(lamina, context, text, "--target", "tool")
    assert look(lamina, "cat /out/tool") == "tool\n"


def test_mounts_of_a_run_leave_nothing(lamina: Lamina, context: Path, scratch: Path) -> None:
    (scratch / "token").write_text("s3cr3t")
    (context / "file").write_text("of the context\n")
    text = """\
FROM base:1 AS other
RUN echo other >/other
FROM base:1
RUN --mount=type=secret,id=token,target=/token --mount=type=cache,target=/cache --mount=type=tmpfs,target=/t \\
    --mount=type=bind,source=file,target=/bound --mount=type=bind,from=other,target=/there \\
    cat /token >/cache/secret; echo kept >/cache/kept; cat /bound /there/other >/seen
RUN --mount=type=cache,target=/cache cat /cache/kept >>/seen; rm /cache/secret
"""
    build(lamina, context, text, "--secret", f"id=token,src={scratch}/token")
    assert look(lamina, "cat /seen; ls /cache /there /t 2>/dev/null; ls /token 2>/dev/null || echo none") == (
        "of the context\nother\nkept\nnone\n"
    )
    assert "s3cr3t" not in "".join(path.read_text(errors="replace") for path in _readable(lamina.store))


def _readable(top: Path) -> list[Path]:
    return [
        path for path in top.rglob("*") if path.is_file() and not path.is_symlink() and path.stat().st_size < 1 << 20
    ]


def test_add_unpacks_archives(lamina: Lamina, context: Path) -> None:
    (context / "inner").mkdir()
    (context / "inner" / "name").write_text("packed\n")
    with tarfile.open(context / "some.tar.gz", "w:gz") as archive:
        archive.add(context / "inner", "inner")
    build(lamina, context, "FROM base:1\nADD some.tar.gz /opt/\nADD --unpack=false some.tar.gz /raw/\n")
    assert look(lamina, "cat /opt/inner/name; ls /raw") == "packed\nsome.tar.gz\n"


def test_the_same_epoch_gives_the_same_image(lamina: Lamina, context: Path) -> None:
    text = "FROM base:1\nWORKDIR /made\nCOPY Dockerfile d/e/\nENV A=b\n"
    env = {"SOURCE_DATE_EPOCH": "1700000000"}
    (context / "Dockerfile").write_text(text)
    ids = {lamina("build", "--no-cache", "-t", "built:1", str(context), env=env).stdout for _ in range(2)}
    created = json.loads(lamina("inspect", "built:1").stdout)[0]["Created"]
    assert created.startswith("2023-11-14T22:13:20")
    assert len(ids) == 1


@pytest.mark.parametrize(
    ("text", "reason", "hint"),
    [
        ("FROM base:1\nRUM true\n", "Dockerfile:2:1", "RUN"),
        ("FROM base:1\nCOPY nowhere /x\n", "Dockerfile:2", "no such file"),
        ("FROM nosuch.invalid/image:1\n", "Dockerfile:1", "images"),
        ("FROM base:1 AS a\nFROM a\nCOPY --from=2 /x /y\n", "no stage 2", ""),
        ("", "no instructions", ""),
        ("FROM base:1\nRUN --security=insecure true\n", "Dockerfile:2", "--privileged"),
        ("FROM --platform=linux/s390x base:1\n", "linux/s390x", ""),
        ("FROM base:1\nADD https://example.invalid/x /x\n", "Dockerfile:2:5: cannot reach example.invalid", ""),
        ("FROM base:1\nRUN --mount=type=secret,id=none,required=true true\n", "secret none", "--secret"),
    ],
)
def test_what_is_wrong_is_pointed_at(lamina: Lamina, context: Path, text: str, reason: str, hint: str) -> None:
    done = build(lamina, context, text, status=125)
    assert reason in done.stderr
    assert hint in done.stderr
    assert "Traceback" not in done.stderr
    lamina("inspect", "built:1", status=125)


def test_a_failing_step_fails_the_build_with_its_output(lamina: Lamina, context: Path) -> None:
    done = build(lamina, context, "FROM base:1\nRUN echo before; exit 3\n", status=125)
    assert "before" in done.stderr
    assert "Dockerfile:2" in done.stderr
    assert "status 3" in done.stderr
    lamina("inspect", "built:1", status=125)
    assert not list((lamina.store / "staging").iterdir())


def test_check_points_at_what_is_probably_wrong(lamina: Lamina, scratch: Path) -> None:
    context = scratch / "checked"
    context.mkdir()
    (context / "Dockerfile").write_text("FROM base:1 as web\nCMD [\u2018apachectl start\u2019]\n")
    done = lamina("build", "--check", str(context), status=1)
    assert "Dockerfile:1" in done.stdout
    assert "FromAsCasing" in done.stdout
    assert 'CMD ["apachectl", "start"]' in done.stdout
    assert "^" in done.stdout
    (context / "Dockerfile").write_text('FROM base:1 AS web\nCMD ["apachectl", "start"]\n')
    assert lamina("build", "--check", str(context)).stdout == ""


@pytest.mark.requires("userns", "overlay")
def test_nothing_is_built_on_this_machine_itself(lamina: Lamina, scratch: Path) -> None:
    lamina("run", "--commit", "change:1", "host", "sh", "-c", "echo x >/tmp/made-over-the-host")
    (scratch / "context").mkdir()
    for name in ("host", "change:1"):
        (scratch / "context" / "Dockerfile").write_text(f"FROM {name}\nENV A=b\n")
        done = lamina("build", "context", status=125)
        assert f"cannot build on {name}: it is " in done.stderr and "this machine's own root" in done.stderr
        assert "Dockerfile:1:1" in done.stderr
