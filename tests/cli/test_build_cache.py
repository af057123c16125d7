"""Build caches that machines share, dates, squash, platforms and secrets of `lamina build`."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.command import Lamina
from tests.helpers.images import rootfs_archive
from tests.helpers.registries import docker_registry
from tests.helpers.rootfs import make_rootfs

_FILE = """\
FROM base:1 AS other
COPY file /other
FROM base:1
COPY file /a/file
WORKDIR /made
COPY --from=other /other /b
"""


@pytest.fixture
def context(lamina: Lamina, scratch: Path) -> Path:
    lamina("import", rootfs_archive(scratch / "rootfs.tar"), "base:1")
    (scratch / "context").mkdir()
    (scratch / "context/file").write_text("content\n")
    (scratch / "context/Dockerfile").write_text(_FILE)
    return scratch / "context"


@pytest.fixture
def other(other: Lamina, scratch: Path) -> Lamina:
    """Return the command over another store, which has the base too."""
    other("import", rootfs_archive(scratch / "rootfs.tar"), "base:1")
    return other


def _cached(lamina: Lamina, context: Path, *words: str) -> tuple[int, str]:
    done = lamina("build", "--progress", "plain", *words, context)
    return done.stderr.count("CACHED"), done.stderr


def test_a_second_store_takes_all_from_a_directory(lamina: Lamina, other: Lamina, context: Path, scratch: Path) -> None:
    (scratch / "cache").mkdir()
    first = lamina("build", "--cache-to", f"type=local,dest={scratch}/cache,mode=max", context, env=_EPOCH).stdout
    source = f"type=local,src={scratch}/cache"
    done = other("build", "--cache-from", source, context, env=_EPOCH)
    assert done.stderr.count("CACHED") == 4
    assert done.stdout == first
    # Of the least, the stage that the result only takes a file from is carried out.
    lamina("build", "--cache-to", f"type=local,dest={scratch}/least", context)
    document = _document(scratch / "least")
    assert len(document["steps"]) == 3


def _document(layout: Path) -> dict[str, Any]:
    def blob(digest: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((layout / "blobs" / digest.replace(":", "/")).read_text())
        return found

    index = json.loads((layout / "index.json").read_text())
    config = blob(index["manifests"][-1]["digest"])["config"]
    assert config["mediaType"] == "application/vnd.lamina.build.cache.v1+json"
    return blob(config["digest"])


@pytest.mark.requires("docker-registry")
def test_a_second_store_takes_all_from_a_registry(lamina: Lamina, other: Lamina, context: Path, scratch: Path) -> None:
    with docker_registry(scratch / "registry") as registry:
        name = f"{registry.host}/ci/cache:main"
        missing, said = _cached(
            lamina, context, "--cache-from", name, "--cache-to", f"type=registry,ref={name},mode=max"
        )
        assert missing == 0 and "no cache from" in said
        assert _cached(other, context, "--cache-from", name)[0] == 4


@pytest.mark.parametrize("damage", ["layer", "config", "index"])
def test_a_damaged_cache_is_told_and_not_used(
    lamina: Lamina, other: Lamina, context: Path, scratch: Path, damage: str
) -> None:
    cache = scratch / "cache"
    first = lamina("build", "--cache-to", f"type=local,dest={cache},mode=max", context, env=_EPOCH).stdout
    if damage == "index":
        (cache / "index.json").write_text("{")
    for path in (cache / "blobs/sha256").iterdir():
        data = path.read_bytes()
        if (damage == "config" and b'"steps"' in data[:2000]) or (damage == "layer" and not data.startswith(b"{")):
            path.write_bytes(data[:-1] + b"X")
    done = other("build", "--cache-from", f"type=local,src={cache}", context, env=_EPOCH)
    assert "CACHED" not in done.stderr and "cache" in done.stderr
    assert done.stdout == first


_EPOCH = {"SOURCE_DATE_EPOCH": "1700000000"}

_MOUNT_FILE = """\
FROM base:1
ARG WHO
RUN --mount=type=cache,target=/c --mount=type=cache,id=second,target=/d \
    umask 027; stat -c %a /c/who 2>/dev/null >/who; \\
    echo $WHO >>/c/who; echo $WHO >/d/$WHO; cat /c/who >>/who; ls /d >>/who
"""


@pytest.mark.requires("docker-registry")
def test_cache_mounts_go_along(lamina: Lamina, other: Lamina, scratch: Path) -> None:
    make_rootfs(scratch / "root")
    (scratch / "mounts").mkdir()
    (scratch / "mounts/Dockerfile").write_text(_MOUNT_FILE)
    for command in (lamina, other):
        command("import", scratch / "root", "base:1")

    def build(command: Lamina, who: str, *words: str) -> str:
        command("build", "-t", "made:1", "--build-arg", f"WHO={who}", *words, scratch / "mounts")
        return command("run", "--rm", "made:1", "cat", "/who").stdout

    with docker_registry(scratch / "registry") as registry:
        place = f"type=registry,ref={registry.host}/ci/cache:1"
        assert build(lamina, "one", "--cache-to", f"{place},cache-mounts=true") == "one\none\n"
        # Both sides have to want it.
        assert build(other, "two", "--cache-from", place) == "two\ntwo\n"
        other("prune", "--force", "--kind", "cache")
        assert build(other, "three", "--cache-from", f"{place},cache-mounts=true") == "640\none\nthree\none\nthree\n"
    build(lamina, "four", "--cache-to", f"type=local,dest={scratch}/kept,cache-mounts=true")
    source = f"type=local,src={scratch}/kept,cache-mounts=true"
    # What a store has already is its own.
    assert build(other, "five", "--cache-from", source).startswith("640\none\nthree\nfive\n")
    other("prune", "--force", "--kind", "cache")
    assert build(other, "six", "--cache-from", source).startswith("640\none\nfour\nsix\n")
    lamina("build", "--cache-to", f"type=local,dest={scratch}/kept", scratch / "mounts")
    assert _document(scratch / "kept")["mounts"] == []


def test_two_directories_and_two_stores_give_one_image(
    lamina: Lamina, other: Lamina, context: Path, scratch: Path
) -> None:
    copy = scratch / "copy"
    copy.mkdir()
    for name in ("file", "Dockerfile"):
        (copy / name).write_text((context / name).read_text())
    ids = {
        lamina("build", context, env=_EPOCH).stdout,
        lamina("build", "--no-cache", copy, env=_EPOCH).stdout,
        other("build", copy, env=_EPOCH).stdout,
        other("build", "--timestamp", "1700000000", context).stdout,
    }
    assert len(ids) == 1
    # Also for whoever else runs this test: root, an ordinary user with a range, one without.
    if platform.machine() == "x86_64":
        assert ids == {"sha256:64b5dbf76e443fe043b4051b045ac46b8e85fd1f7e7fed4a381ff1c7a02e11d5\n"}


def test_what_is_added_becomes_one_layer(lamina: Lamina, context: Path) -> None:
    (context / "Dockerfile").write_text(_FILE + "COPY --chmod=600 file /a/file\n")
    lamina("build", "--squash", "-t", "squashed:1", context)
    (said,) = json.loads(lamina("inspect", "squashed:1").stdout)
    assert len(said["RootFS"]["Layers"]) == 2
    lamina("build", "-t", "plain:1", context)
    target = context.parent / "out"
    for name in ("squashed:1", "plain:1"):
        (context / "Dockerfile").write_text(f"FROM {name}\n")
        lamina("build", "-o", target / name, context)
    trees = [
        sorted((str(path.relative_to(top)), path.stat().st_mode) for path in top.rglob("*"))
        for top in (target / "squashed:1", target / "plain:1")
    ]
    assert trees[0] == trees[1]


def test_another_platform_takes_files_and_runs_nothing(lamina: Lamina, context: Path) -> None:
    text = "FROM scratch\nARG TARGETARCH BUILDPLATFORM\nCOPY file /$TARGETARCH\n"
    (context / "Dockerfile").write_text(text)
    lamina("build", "--platform", "linux/s390x", "-t", "far:1", context)
    (said,) = json.loads(lamina("inspect", "far:1").stdout)
    assert said["Architecture"] == "s390x"
    (context / "Dockerfile").write_text(text + 'RUN ["/x"]\n')
    refused = lamina("build", "--platform", "linux/s390x", context, status=125)
    assert "Dockerfile:4" in refused.stderr and "does not run programs for linux/s390x" in refused.stderr
    (context / "Dockerfile").write_text("FROM --platform=$BUILDPLATFORM base:1 AS tool\nCOPY file /out\n" + text)
    lamina("build", "--platform", "linux/s390x", context)


_SEVERAL = "linux/s390x,linux/amd64,linux/arm64"


def test_several_platforms_make_an_index(lamina: Lamina, context: Path, scratch: Path) -> None:
    (context / "Dockerfile").write_text("FROM scratch\nARG TARGETARCH\nCOPY file /$TARGETARCH\n")
    lamina("build", "--platform", _SEVERAL, "-t", "all:1", "-t", "all:2", context)
    # What is built on it takes the image of its platform, and can be given away as a whole.
    (context / "Dockerfile").write_text("FROM all:2\nARG TARGETARCH\nCOPY file /again/$TARGETARCH\n")
    printed = lamina("build", "--pull=never", "--platform", _SEVERAL, "-t", "on:1", context).stdout.strip()
    lamina("save", "--format", "oci-archive", "-o", str(scratch / "all.tar"), "on:1")
    lamina("rmi", "on:1", "all:1", "all:2")
    lamina("load", "--all-platforms", "-i", str(scratch / "all.tar"))
    ids = {}
    for wanted in _SEVERAL.split(","):
        _, _, architecture = wanted.partition("/")
        (said,) = json.loads(lamina("inspect", "--platform", wanted, "on:1").stdout)
        ids[architecture] = said["Id"]
        assert said["Architecture"] == architecture
        target = scratch / architecture
        flat = f"type=local,dest={target}"
        (context / "Dockerfile").write_text("FROM on:1\n")
        lamina("build", "--pull=never", "--platform", wanted, "--output", flat, context)
        assert sorted(path.name for path in target.rglob("*")) == sorted([architecture, architecture, "again"])
    assert len(set(ids.values())) == 3
    assert printed == ids.get({"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), "s390x"))


def test_where_one_of_several_platforms_fails_nothing_gets_the_name(lamina: Lamina, context: Path) -> None:
    (context / "Dockerfile").write_text('FROM scratch\nCOPY file /\nRUN ["/x"]\n')
    refused = lamina("build", "--platform", "linux/s390x,linux/mips64le", "-t", "all:1", context, status=125)
    assert "Dockerfile:3" in refused.stderr
    assert "does not run programs for linux/s390x" in refused.stderr
    assert "binfmt_misc" in refused.stderr and "qemu-user-static" in refused.stderr
    assert "all:1" not in lamina("images").stdout
    refused = lamina("build", "--platform", _SEVERAL, "--push", "-t", "all:1", context, status=2)
    assert "--output: it is for a build for one platform" in refused.stderr


def test_checks_that_are_to_be_errors_fail_the_build(lamina: Lamina, context: Path) -> None:
    (context / "Dockerfile").write_text("# check=error=true\nFROM base:1 as web\n")
    refused = lamina("build", context, status=125)
    assert "FromAsCasing" in refused.stderr and "Dockerfile:2" in refused.stderr
    lamina("build", "--build-arg", "BUILDKIT_DOCKERFILE_CHECK=skip=FromAsCasing;error=true", context)


@pytest.mark.requires("overlay", "userns")
def test_a_secret_stays_outside(lamina: Lamina, scratch: Path) -> None:
    make_rootfs(scratch / "tree")
    lamina("import", scratch / "tree", "run:1")
    context, secret = scratch / "secret", "hunter2-hunter2"
    context.mkdir()
    (scratch / "token").write_text(secret)
    (context / "Dockerfile").write_text(
        "FROM run:1\n"
        'RUN --mount=type=secret,id=file,target=/s,mode=0440 [ -n "$(cat /s)" ] && stat -c %a /s >/mode\n'
        'RUN --mount=type=secret,id=word,env=WORD,target=/s [ "$WORD" = "$(cat /s)" ]\n'
    )
    done = lamina(
        "build", "-t", "kept:1", "--progress", "rawjson", "--secret", f"id=file,src={scratch}/token",
        "--secret", "id=word,env=WORD", "--cache-to", f"type=local,dest={scratch}/cache,compression=uncompressed",
        context,
        env={"WORD": secret},
    )  # fmt: skip
    assert secret not in done.stderr + done.stdout
    for top in (lamina.store, scratch / "cache"):
        for path in top.rglob("*"):
            if path.is_file() and not path.is_symlink() and os.access(path, os.R_OK):
                assert secret.encode() not in path.read_bytes(), path
    assert lamina("run", "--rm", "kept:1", "cat", "/mode").stdout == "440\n"
    assert not [name for name in os.listdir("/dev/shm") if name.startswith("lamina-secret-")]
